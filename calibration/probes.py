"""What the observed model gives back of each tensor: never more of it than observing takes.

A large map costs more to hand out than to compute, so the model itself finds its largest value per channel (a pooling over all places, which
ONNX Runtime does in the layout that its convolutions use) and hands out every s-th place of it. That serves maps that are never negative:
their least value below zero is zero. Every other tensor is handed out whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from .graph import Graph, clip_bounds
from .heads import tensor_shapes
from .observers import HISTOGRAM_VALUES

Array = npt.NDArray[Any]
MIN_PLACES = 400
_NEVER_NEGATIVE = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt"})
_KEEPS_SIGN = frozenset({
    "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Concat",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """Under which names the observed model gives `tensor` back: `peak` its largest value per channel, `values` all or part of it."""

    tensor: str
    values: str
    peak: str | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """A model that also gives back what the probes name."""

    model: Any
    probes: tuple[Probe, ...]


def probed(model: Any, tensors: tuple[str, ...]) -> Probed:
    """A copy of `model` with probes on `tensors`, which are float32."""
    graph = Graph(model)
    shapes, positive, taken = tensor_shapes(model), never_negative(graph), set(graph.names)
    written = onnx.ModelProto()
    written.CopyFrom(model)
    present = {value.name for value in (*written.graph.input, *written.graph.output)}
    probes = []
    for name in tensors:
        stride = _stride(shapes.get(name, [])) if name in positive and name not in present else 1
        probe = _pooled(written.graph, name, stride, taken) if stride > 1 else Probe(name, name)
        probes.append(probe)
        wanted = [output for output in (probe.values, probe.peak) if output is not None and output not in present]
        written.graph.output.extend(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None) for output in wanted)
    return Probed(written, tuple(probes))


def never_negative(graph: Graph) -> frozenset[str]:
    """Tensors that hold no value below zero, whatever is fed."""
    found: set[str] = set()
    for node in graph.nodes:
        bounds = clip_bounds(graph, node)
        passes = node.op_type in _KEEPS_SIGN and all(name in found for name in (node.input if node.op_type == "Concat" else node.input[:1]))
        adds = node.op_type in {"Add", "Mul"} and all(name in found for name in node.input)
        if node.op_type in _NEVER_NEGATIVE or passes or adds or (bounds is not None and bounds[0] >= 0):
            found.add(node.output[0])
    return frozenset(found)


def _stride(shape: list[int]) -> int:
    """Every how many-th row and column of a map is handed out; 1 = the whole map."""
    if len(shape) != 4 or min(shape[1:]) < 1 or prod(shape[2:]) < MIN_PLACES:
        return 1
    return min(int(np.sqrt(prod(shape[1:]) / HISTOGRAM_VALUES)), *shape[2:])


def _pooled(graph: Any, name: str, stride: int, taken: set[str]) -> Probe:
    peak, values = f"{name}//peak", f"{name}//values"
    while {peak, values} & taken:
        peak, values = f"{peak}_", f"{values}_"
    graph.node.append(helper.make_node("GlobalMaxPool", [name], [peak], peak))
    graph.node.append(helper.make_node("MaxPool", [name], [values], values, kernel_shape=[1, 1], strides=[stride, stride]))
    return Probe(name, values, peak)
