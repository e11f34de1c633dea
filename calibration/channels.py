"""Which channels of which tensors must be scaled together, and which not at all. Pure.

A positive factor per channel passes through Relu, Clip, pooling, concatenation, addition, Slice over places and Flatten of 1×1 maps; the
weights of convolutions and matrix products take it up, on either side. So channels fall into classes: all channels that one factor moves.

- A convolution with one group, and a Gemm, separate the classes of their input from those of their output; so does a depthwise one.
- What any other node reads or makes keeps the factor 1, and so do the graph's inputs and outputs and what nested graphs read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .graph import Graph, attribute
from .heads import tensor_shapes

Classes = npt.NDArray[np.int64]
_SAME = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Clip"})


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """The class of each channel by tensor, and which of the `fixed.size` classes keep the factor 1."""

    classes: dict[str, Classes]
    fixed: npt.NDArray[np.bool_]


class _Forest:
    """Union-find over channels."""

    def __init__(self) -> None:
        self.parents: list[int] = []

    def new(self, count: int) -> list[int]:
        fresh = list(range(len(self.parents), len(self.parents) + count))
        self.parents += fresh
        return fresh

    def root(self, item: int) -> int:
        while self.parents[item] != item:
            self.parents[item] = self.parents[self.parents[item]]
            item = self.parents[item]
        return item

    def join(self, one: list[int], other: list[int]) -> None:
        for a, b in zip(one, other, strict=True):
            self.parents[self.root(a)] = self.root(b)


def channel_map(graph: Graph) -> ChannelMap:
    """The classes of the float tensors of `graph` whose channels (axis 1) are known."""
    forest, found, fixed = _Forest(), dict[str, list[int]](), list[int]()
    shapes = {name: shape for name, shape in tensor_shapes(graph.model).items() if name in graph.float_tensors and len(shape) > 1 and shape[1] > 0}
    for name in graph.inputs:
        if name in shapes:
            found[name] = forest.new(shapes[name][1])
            fixed += found[name]
    for node in graph.nodes:
        made = _passed_on(graph, node, found, shapes, forest)
        if made is not None:
            found[node.output[0]] = made
            continue
        fixed += [item for name in node.input for item in found.get(name, [])]
        for name in node.output:
            if name in shapes:
                found[name] = forest.new(shapes[name][1])
                fixed += found[name]
    fixed += [item for name in (*graph.outputs, *graph.captured) for item in found.get(name, [])]
    return _compact(forest, found, fixed)


def _compact(forest: _Forest, found: dict[str, list[int]], fixed: list[int]) -> ChannelMap:
    roots = np.array([forest.root(item) for item in range(len(forest.parents))], np.int64)
    _, dense = np.unique(roots, return_inverse=True)
    is_fixed = np.zeros(int(dense.max()) + 1 if len(dense) else 0, np.bool_)
    is_fixed[dense[fixed]] = True
    return ChannelMap({name: dense[items] for name, items in found.items()}, is_fixed)


def _passed_on(graph: Graph, node: Any, found: dict[str, list[int]], shapes: dict[str, list[int]], forest: _Forest) -> list[int] | None:
    """The channels of the node's output, or None where a factor must not reach it."""
    source, output = node.input[0] if node.input else "", node.output[0]
    if source not in found or output not in shapes or len([name for name in node.output if name]) != 1:
        return None
    channels = found[source]
    if node.op_type in {"Conv", "Gemm"}:
        return forest.new(shapes[output][1]) if takes_factors(graph, node, len(channels)) else None
    if node.op_type in _SAME:
        return channels
    if node.op_type == "Concat" and attribute(node, "axis", 0) == 1 and all(name in found for name in node.input):
        return [item for name in node.input for item in found[name]]
    if node.op_type == "Add" and all(name in found and shapes[name][1:] == shapes[output][1:] for name in node.input):
        forest.join(channels, found[node.input[1]])
        return channels
    if node.op_type == "Flatten" and attribute(node, "axis", 1) == 1 and all(axis == 1 for axis in shapes[source][2:]):
        return channels
    if node.op_type == "Slice" and shapes[output][1] == shapes[source][1] and _avoids_channels(graph, node):
        return channels
    if node.op_type == "Pad":
        return _padded(graph, node, channels, forest)
    return None


def takes_factors(graph: Graph, node: Any, channels: int) -> bool:
    """Whether the weights of this Conv or Gemm are its own, constant and take a factor per channel on either side."""
    weight = graph.constant(node.input[1])
    own = weight is not None and weight.dtype == np.float32 and len(graph.consumers[node.input[1]]) == 1
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        own = own and bias is not None and len(graph.consumers[node.input[2]]) == 1 and bias.ndim == 1
    if not own or weight is None:
        return False
    if node.op_type == "Gemm":
        return not attribute(node, "transA", 0) and bool(attribute(node, "alpha", 1.0) == 1.0) and bool(attribute(node, "beta", 1.0) == 1.0)
    groups = attribute(node, "group", 1)
    return groups == 1 or bool(groups == channels == len(weight))


def _avoids_channels(graph: Graph, node: Any) -> bool:
    axes = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    return axes is not None and 1 not in axes.tolist() and all(axis >= 0 for axis in axes.tolist())


def _padded(graph: Graph, node: Any, channels: list[int], forest: _Forest) -> list[int] | None:
    """Zeros before and after the channels; padding with anything else, or by mirroring, stops a factor."""
    pads = graph.constant(node.input[1]) if len(node.input) > 1 else None
    value = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if pads is None or value is None or value.any() or attribute(node, "mode", b"constant") != b"constant" or len(node.input) > 3:
        return None
    half = len(pads) // 2
    if min(pads[1], pads[half + 1]) < 0:
        return None
    return [*forest.new(int(pads[1])), *channels, *forest.new(int(pads[half + 1]))]
