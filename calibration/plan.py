"""Decides what is quantised: which nodes, which tensors carry Q/DQ, and why the rest stays in float. Pure.

Rules for ONNX Runtime's integer kernels (measured placement, see docs):
1. Conv, Gemm and MatMul with constant weights are quantised: activations per tensor, weights per output channel.
2. A Relu or Clip that alone follows such a node is fused: its output carries the Q/DQ, the tensor between carries none.
3. A Conv's output always carries Q/DQ (its kernel has no float output); that of Gemm and MatMul only when a quantised node reads it, so
   that logits leave in full precision.
4. Pooling, concatenation, addition and shape changes join when their inputs are quantised and something quantised reads their output.
5. Pooling by maximum, padding with zeros, slices and shape changes keep the range of their input; the inputs of a concatenation take the
   range of its output, so that the kernel copies instead of requantising.
6. Nodes inside nested graphs are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.errors import Rejected
from .graph import Graph, attribute, clip_bounds

SAME_RANGE = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad"})
JOINING = frozenset({"Add", "Concat", "AveragePool", "GlobalAveragePool", *SAME_RANGE})
_KEPT = "kept in float: there it costs no time on this runtime and the most fidelity in integers, or the budget needs it"
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A node that stays in float, and why."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A quantised node with weights. `output` is the tensor that carries its Q/DQ or leaves as float: after a fused activation."""

    node: str
    op: str
    source: str
    weight: str
    bias: str | None
    raw_output: str
    output: str
    axis: int


@dataclass(frozen=True)
class Plan:
    """What is quantised. `tensors` carry Q/DQ; `same_range` maps a tensor to the one whose range it takes."""

    layers: tuple[Layer, ...]
    joined: frozenset[str]
    tensors: tuple[str, ...]
    same_range: dict[str, str]
    skipped: tuple[Skipped, ...] = field(default=())

    def range_owner(self, tensor: str) -> str:
        """The tensor whose observed range `tensor` uses."""
        seen = set()
        while tensor in self.same_range and tensor not in seen:
            seen.add(tensor)
            tensor = self.same_range[tensor]
        return tensor

    @property
    def observed(self) -> tuple[str, ...]:
        """The tensors whose ranges must be known."""
        return tuple(sorted({self.range_owner(tensor) for tensor in self.tensors}))


def node_name(node: Any) -> str:
    """The name of `node`, which normalising made its own."""
    name: str = node.name
    return name


def plan_for_onnxruntime(graph: Graph, keep_float: frozenset[str] = frozenset()) -> Plan:
    """The plan for ONNX Runtime's CPU kernels; nodes named in `keep_float` stay in float."""
    layers: dict[str, Layer] = {}
    skipped: list[Skipped] = []
    for node in graph.nodes:
        if node.op_type not in WEIGHTED and node.op_type not in {"ConvTranspose", "LSTM", "GRU", "Attention"}:
            continue
        reason = _refusal(graph, node) or (_KEPT if node_name(node) in keep_float else None)
        if reason is not None:
            skipped.append(Skipped(node_name(node), node.op_type, reason))
        else:
            layers[node_name(node)] = _layer(graph, node)
    joined = _joining_nodes(graph, layers, keep_float)
    tensors = _tensors(graph, layers, joined)
    return Plan(tuple(layers.values()), frozenset(joined), tensors, _ranges(graph, joined, set(tensors)), tuple(skipped))


def nothing_to_quantise(plan: Plan, name: str) -> Rejected:
    """What to raise when `plan` of the model `name` has no layer."""
    reasons = "; ".join(sorted({entry.reason for entry in plan.skipped})) or "it has no Conv, Gemm or MatMul"
    return Rejected("nothing-to-quantise", f"no layer of {name} can be quantised: {reasons}", "Deploy it with recipe = none")


def _refusal(graph: Graph, node: Any) -> str | None:
    if node.op_type not in WEIGHTED:
        return "ONNX Runtime has no INT8 kernel for it"
    weight = graph.constant(node.input[1])
    if weight is None:
        return "it multiplies two activations" if node.op_type == "MatMul" else "its weights are not constant"
    if weight.dtype != "float32" or node.input[0] not in graph.float_tensors:
        return "its input or weights are not float32"
    if graph.constant(node.input[0]) is not None:
        return "its input is constant"
    if node.op_type == "Conv" and weight.ndim not in {3, 4}:
        return f"ONNX Runtime has no INT8 kernel for a convolution over {weight.ndim - 2} axes"
    if node.op_type != "Conv" and weight.ndim != 2:
        return "its weights are not a matrix"
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0):
        return "it scales or transposes its input"
    if len(node.input) > 2 and node.input[2] and _bias_refusal(graph, node, weight):
        return "its bias is not a constant vector"
    if node.output[0] in graph.captured or node.input[0] in graph.captured:
        return "a nested graph reads its tensors"
    return None


def _bias_refusal(graph: Graph, node: Any, weight: Any) -> bool:
    bias = graph.constant(node.input[2])
    if bias is None or bias.dtype != "float32":
        return True
    return bool(bias.size != weight.shape[_channel_axis(node)])


def _channel_axis(node: Any) -> int:
    """The axis of the weights that counts output channels."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def _layer(graph: Graph, node: Any) -> Layer:
    raw = node.output[0]
    after = graph.sole_consumer(raw)
    bounds = clip_bounds(graph, after) if after is not None else None
    is_fused = after is not None and bounds is not None and bounds[0] <= 0
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    output = after.output[0] if is_fused and after is not None else raw
    return Layer(node_name(node), node.op_type, node.input[0], node.input[1], bias, raw, output, _channel_axis(node))


def _joining_nodes(graph: Graph, layers: dict[str, Layer], keep_float: frozenset[str]) -> set[str]:
    """Rule 4, to a fixed point: inputs quantised from below, and a quantised reader above."""
    made = {layer.output for layer in layers.values() if layer.op == "Conv"} | {layer.source for layer in layers.values()}
    candidates = [node for node in graph.nodes if node.op_type in JOINING and node_name(node) not in keep_float]
    reachable: dict[str, Any] = {}
    for node in candidates:
        if _joins(graph, node, made):
            reachable[node_name(node)] = node
            made.add(_output_of(graph, node))
    read = {layer.source for layer in layers.values()}
    joined: set[str] = set()
    for name, node in reversed(list(reachable.items())):
        if _output_of(graph, node) in read:
            joined.add(name)
            read.update(_data_inputs(node))
    return joined


def _joins(graph: Graph, node: Any, made: set[str]) -> bool:
    inputs = _data_inputs(node)
    if any(name in graph.captured for name in (*inputs, *node.output)) or not all(name in graph.float_tensors for name in inputs):
        return False
    if node.op_type == "Pad" and not _pads_with_zeros(graph, node):
        return False
    if node.op_type == "MaxPool" and len([name for name in node.output if name]) > 1:
        return False
    return all(name in made for name in inputs)


def _pads_with_zeros(graph: Graph, node: Any) -> bool:
    """Zero has an exact code in every range; what else would be padded with may have none."""
    if attribute(node, "mode", b"constant") != b"constant" or graph.constant(node.input[1]) is None:
        return False
    value = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return value is not None and not value.any()


def _data_inputs(node: Any) -> list[str]:
    return list(node.input) if node.op_type in {"Add", "Concat"} else [node.input[0]]


def _output_of(graph: Graph, node: Any) -> str:
    """The output of a joining node, after a Relu or Clip that is fused into an Add."""
    name: str = node.output[0]
    after = graph.sole_consumer(name) if node.op_type == "Add" else None
    if after is not None and (bounds := clip_bounds(graph, after)) is not None and bounds[0] <= 0:
        fused: str = after.output[0]
        return fused
    return name


def _tensors(graph: Graph, layers: dict[str, Layer], joined: set[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    read: set[str] = {layer.source for layer in layers.values()}
    for node in graph.nodes:
        if node_name(node) in joined:
            read.update(_data_inputs(node))
    for node in graph.nodes:
        layer = layers.get(node_name(node))
        if layer is not None:
            names[layer.source] = None
            if layer.op == "Conv" or layer.output in read:
                names[layer.output] = None
        elif node_name(node) in joined:
            names.update(dict.fromkeys(_data_inputs(node)))
            names[_output_of(graph, node)] = None
    return tuple(names)


def _ranges(graph: Graph, joined: set[str], tensors: set[str]) -> dict[str, str]:
    """Rule 5. A tensor read by two concatenations follows the first."""
    owners: dict[str, str] = {}
    for node in graph.nodes:
        if node_name(node) not in joined:
            continue
        if node.op_type in SAME_RANGE:
            owners[node.output[0]] = node.input[0]
    for node in graph.nodes:
        if node_name(node) in joined and node.op_type == "Concat":
            for name in node.input:
                if name not in owners and name in tensors and graph.sole_consumer(name) is not None:
                    owners[name] = node.output[0]
    return owners
