"""Writes half precision as casts in the graph: for runtimes that take each tensor's type from the model, as TensorRT from 11 on. Pure.

A node computes in float16 unless one of these rules keeps it in float32; the reason is told for each that stays:
1. ONNX defines no float16 for it, its result's type stands in an attribute, it is of another domain or holds nested graphs;
2. it sums, exponentiates or normalises over many values (`_SUMMING`), where eleven bits of mantissa are too few;
3. a tensor that it reads or makes reaches beyond `MAX_REACH`, or one of its constants is beyond half precision's largest value;
4. one of its constants would become zero altogether, as the small number that guards a division.

The model's inputs and outputs keep names and types; constants are stored in half precision; each tensor is cast at most once each way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .graph import Graph, graphs_within, opset_of
from .plan import Skipped, node_name
from .table import Range

HALF_MAX = float(np.finfo(np.float16).max)
HALF_LEAST = float(np.finfo(np.float16).smallest_subnormal)
MAX_REACH = HALF_MAX / 4
_SUMMING = frozenset({
    "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Reciprocal", "CumSum", "LayerNormalization", "InstanceNormalization", "GroupNormalization",
    "RMSNormalization", "MeanVarianceNormalization", "LpNormalization", "LRN", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "Einsum", "Softplus", "Erf",
})  # fmt: skip
_TYPED_BY_ATTRIBUTE = frozenset({
    "Cast", "CastLike", "Constant", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Bernoulli", "Multinomial", "Range", "NonMaxSuppression", "RoiAlign", "TopK", "SequenceEmpty", "Optional",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class HalfModel:
    """The written model, how many of its nodes compute in half precision, and which do not."""

    model: Any
    halved: int
    kept: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Places:
    """Which inputs and outputs of a node become float16."""

    inputs: frozenset[int] = frozenset()
    outputs: frozenset[int] = frozenset()


def half_model(graph: Graph, ranges: Mapping[str, Range]) -> HalfModel:
    """`graph`, which has its shapes inferred, in half precision; `ranges` says what its tensors reach, as far as that is known."""
    writer = _HalfWriter(graph, ranges, _float_names(graph), _taken=set(graph.names))
    for node in graph.nodes:
        writer.copy(node)
    return HalfModel(writer.model(), writer.halved, tuple(writer.kept))


@dataclass(slots=True)
class _HalfWriter:
    graph: Graph
    ranges: Mapping[str, Range]
    floats: frozenset[str]
    halved: int = 0
    kept: list[Skipped] = field(default_factory=list)
    _nodes: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)
    _halves: dict[str, str] = field(default_factory=dict)
    _only_half: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)

    def copy(self, node: Any) -> None:
        """Write `node`, in half precision where the rules allow it."""
        places = _half_places(self._opset, node, self.floats)
        reason = _refusal(self._opset, node, places) or self._overflow(node, places or _Places())
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if reason is not None or places is None or not (places.inputs or places.outputs):
            if reason is not None and self.floats.intersection((*node.input, *node.output)):
                self.kept.append(Skipped(node_name(node), node.op_type, reason))
            self._widen(node)
            self._nodes.append(copy)
            return
        self.halved += 1
        for position in places.inputs:
            copy.input[position] = self._half(node.input[position])
        self._widen(node, places.inputs)
        for position in places.outputs:
            name = node.output[position]
            copy.output[position] = self._halves[name] = self._new(f"{name}/half")
            self._only_half.add(name)
        self._nodes.append(copy)
        for position in places.outputs:
            if node.output[position] in self.graph.outputs or node.output[position] in self.graph.captured:
                self._cast_back(node.output[position])

    def model(self) -> Any:
        written = onnx.ModelProto()
        written.CopyFrom(self.graph.model)
        target = written.graph
        del target.node[:]
        target.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | self.graph.captured | self.graph.outputs
        kept = [tensor for tensor in target.initializer if tensor.name in used]
        del target.initializer[:]
        target.initializer.extend([*kept, *self._constants])
        del target.value_info[:]
        written.producer_name = "edgewright"
        return written

    @property
    def _opset(self) -> int:
        return opset_of(self.graph.model)

    def _overflow(self, node: Any, places: _Places) -> str | None:
        names = [node.input[position] for position in sorted(places.inputs)] + [node.output[position] for position in sorted(places.outputs)]
        for name in names:
            value = self.graph.constant(name)
            if value is not None and value.size and (reason := _unfit_constant(name, value)):
                return reason
            seen = self.ranges.get(name)
            if seen is not None and max(-seen.low, seen.high) > MAX_REACH:
                return f"{name!r} reaches {max(-seen.low, seen.high):.3g}, half precision ends at {HALF_MAX:.0f}"
        return None

    def _half(self, name: str) -> str:
        """The name under which the float32 tensor `name` stands in half precision; a constant or a cast is written on its first use."""
        if name in self._halves:
            return self._halves[name]
        half = self._halves[name] = self._new(f"{name}/half")
        value = self.graph.constant(name)
        if value is not None:
            self._constants.append(numpy_helper.from_array(value.astype(np.float16), half))
        else:
            self._nodes.append(helper.make_node("Cast", [name], [half], f"{half}/cast", to=TensorProto.FLOAT16))
        return half

    def _widen(self, node: Any, halved: frozenset[int] = frozenset()) -> None:
        """Give `node` back in float32 what it reads so and only exists in half precision."""
        for position, name in enumerate(node.input):
            if position not in halved and name in self._only_half:
                self._cast_back(name)

    def _cast_back(self, name: str) -> None:
        if name in self._only_half:
            self._only_half.discard(name)
            self._nodes.append(helper.make_node("Cast", [self._halves[name]], [name], f"{name}/cast", to=TensorProto.FLOAT))

    def _new(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _float_names(graph: Graph) -> frozenset[str]:
    weights = {name for name, tensor in graph.initializers.items() if tensor.data_type == TensorProto.FLOAT}
    return frozenset(graph.float_tensors | weights)


def _refusal(opset: int, node: Any, places: _Places | None) -> str | None:
    """Why `node` stays in float32 whatever its values are."""
    if node.domain not in {"", "ai.onnx"}:
        return f"it is of the domain {node.domain!r}"
    if next(graphs_within(node), None) is not None:
        return "it holds nested graphs"
    if node.op_type in _SUMMING:
        return "it adds up or exponentiates more than half precision holds"
    if node.op_type in _TYPED_BY_ATTRIBUTE:
        return "its type is its own"
    if places is None:
        return f"ONNX {opset} has no half precision for it"
    return None


def _half_places(opset: int, node: Any, floats: AbstractSet[str]) -> _Places | None:
    """The float32 inputs and outputs of `node` that may be float16; None when that takes away what ONNX asks for."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    allowed = {entry.type_param_str: "tensor(float16)" in entry.allowed_type_strs for entry in schema.type_constraints}
    inputs, is_possible = _positions(node.input, schema.inputs, allowed, floats)
    outputs, is_possible_too = _positions(node.output, schema.outputs, allowed, floats)
    return _Places(inputs, outputs) if is_possible and is_possible_too else None


def _positions(names: Sequence[str], formal: Sequence[Any], allowed: Mapping[str, bool], floats: AbstractSet[str]) -> tuple[frozenset[int], bool]:
    """Where float32 tensors stand that may be float16, and whether all may that share a type with others."""
    found = set()
    for position, name in enumerate(names):
        kind = formal[min(position, len(formal) - 1)].type_str
        if name not in floats or kind not in allowed:
            continue
        if not allowed[kind]:
            return frozenset(), False
        found.add(position)
    return frozenset(found), True


def _unfit_constant(name: str, value: npt.NDArray[Any]) -> str | None:
    magnitude = np.abs(value[value != 0])
    if not magnitude.size:
        return None
    if not magnitude.max() <= HALF_MAX:
        return f"its constant {name!r} is beyond half precision"
    if magnitude.max() < HALF_LEAST:
        return f"its constant {name!r} would become zero in half precision"
    return None
