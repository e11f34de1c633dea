"""Walks through the network in order, quantising each layer for what the layers before it really hand on.

Two networks run side by side, step by step, over a few samples: the FP32 one (the teacher) and the quantised one as far as it is finished
(the student). Each layer's codes are chosen for the student's inputs, and its gain and bias bring its output nearest to the teacher's
(Nagel et al. 2019 §4.2 and Finkelstein et al. 2019, measured instead of modelled). Convolutions are paired, never tensor names: a fused
activation function gives a layer's output another name and another meaning.

Memory: the tensors that are alive lie in a spool on disk; a batch of one step is what is resident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import Rejected, Unfit
from .affine import AffineStatistics
from .columns import ColumnMoments
from .graph import Graph
from .plan import Layer, Plan
from .rounding import nearest_codes, output_error, row_scales, second_order_codes
from .spool import Spool
from .step import Codes, Step, StepModel, steps
from .table import RangeTable
from .writer import Dialect, Floats, WeightCodes, activation_codes, large_enough_for_bias

Array = npt.NDArray[Any]
_HALF_LIMIT = 3e4
PLACES_PER_COLUMN = 0.5


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """`second_order` tries better rounding; `gain` and `bias` switch the corrections. `threads` 0 = all cores."""

    second_order: bool = True
    gain: bool = True
    bias: bool = True
    threads: int = 0


@dataclass(slots=True)
class Walk:
    """One walk over `samples`, a spool with the inputs in `batches` batches; temporary files go into `folder`."""

    graph: Graph
    plan: Plan
    table: RangeTable
    dialect: Dialect
    samples: Spool
    batches: int
    folder: Path
    options: WalkOptions
    progress: Callable[[float], None]
    cancel: Callable[[], bool]

    def weights(self) -> dict[str, WeightCodes]:
        """The finished weights and biases of every layer, by its name.

        Raises:
            Unfit: ``cancelled``, or ``walk-impossible`` when a step cannot run by itself (nested graphs, unknown types).
        """
        models = StepModel(self.graph, self._types(), self.options.threads)
        order = steps(self.graph, self.plan)
        last = max(index for index, step in enumerate(order) if step.layer is not None)
        uses = _uses(order[: last + 1])
        found: dict[str, WeightCodes] = {}
        with Spool(self.folder) as teacher, Spool(self.folder) as student:
            self._feed(teacher, student)
            for index, step in enumerate(order[: last + 1]):
                if self.cancel():
                    raise Unfit("cancelled", "the calibration was cancelled", "Start it again")
                if any(name not in models.types for name in (*step.sources, *step.outputs)):
                    raise Unfit("walk-impossible", f"the types of {step.nodes[0].name!r} are not known", "Export the model with shapes inferred")
                _Walker(self, models, teacher, student, step).go(found)
                for name in step.sources:
                    uses[name] -= 1
                    if not uses[name]:
                        teacher.drop(name)
                        student.drop(name)
                self.progress((index + 1) / (last + 1))
        return found

    def codes(self, tensors: tuple[str, ...]) -> dict[str, Codes]:
        """How those of `tensors` are coded that carry Q/DQ."""
        kind = np.uint8 if self.dialect.is_unsigned else np.int8
        coded = {}
        for name in tensors:
            if name in self._coded:
                scale, zero = activation_codes(self.table.ranges[self.plan.range_owner(name)], self.dialect)
                coded[name] = Codes(scale, np.asarray(zero, kind))
        return coded

    @property
    def _coded(self) -> frozenset[str]:
        return frozenset(self.plan.tensors)

    def _types(self) -> dict[str, int]:
        graph = self.graph.model.graph
        values = (*graph.value_info, *graph.input, *graph.output)
        return {value.name: value.type.tensor_type.elem_type for value in values if value.type.tensor_type.elem_type}

    def _feed(self, teacher: Spool, student: Spool) -> None:
        for name in self.graph.inputs:
            codes = self.codes((name,))
            for batch in range(self.batches):
                values = self.samples.get(name, batch)
                teacher.add(name, values)
                student.add(name, quantized(values, codes[name]) if codes else values)


@dataclass(slots=True)
class _Walker:
    """One step of a walk."""

    walk: Walk
    models: StepModel
    teacher: Spool
    student: Spool
    step: Step

    def go(self, found: dict[str, WeightCodes]) -> None:
        layer = self.step.layer
        if layer is None:
            self._teach(None, None)
            self._learn(None, None)
            return
        weights = self._rounded(layer)
        has_bias = layer.op != "MatMul" and (self.walk.options.bias or self.walk.options.gain)
        if has_bias:
            statistics = AffineStatistics()
            self._teach(statistics, real_rows(weights, layer.axis))
            weights = self._corrected(weights, statistics)
        else:
            self._teach(None, None)
        found[layer.node] = weights
        self._learn(real_rows(weights, layer.axis), weights.bias)

    def _corrected(self, weights: WeightCodes, statistics: AffineStatistics) -> WeightCodes:
        bias = np.zeros(len(weights.scales)) if weights.bias is None else weights.bias.astype(np.float64)
        correction = statistics.correction(bias, with_gain=self.walk.options.gain)
        scales = (weights.scales * correction.gain).astype(np.float32)
        return replace(weights, scales=scales, bias=correction.bias.astype(np.float32) if self.walk.options.bias else weights.bias)

    def _teach(self, statistics: AffineStatistics | None, weight: Floats | None) -> None:
        """Run the teacher's step; with `statistics`, the student's too, before its correction."""
        step, codes = self.step, self.walk.codes(self.step.sources)
        with self.models.exact(step) as exact:
            raw = None if weight is None else self.models.raw(step, codes, weight)
            try:
                for batch in range(self.walk.batches):
                    values = exact.infer({name: _wide(self.teacher.get(name, batch)) for name in step.sources})
                    if statistics is not None and raw is not None:
                        student = raw.infer({name: self.student.get(name, batch) for name in self._raw_sources()})
                        statistics.add(values[step.raw], student[step.raw])
                    for name in step.outputs:
                        self.teacher.add(name, _narrow(values[name]))
            finally:
                if raw is not None:
                    raw.close()

    def _raw_sources(self) -> list[str]:
        return [name for name in self.step.sources if name in self.step.nodes[0].input]

    def _learn(self, weight: Floats | None, bias: Floats | None) -> None:
        """Run the student's step with what it has learnt."""
        step, codes = self.step, self.walk.codes((*self.step.sources, *self.step.outputs))
        with self.models.coded(step, codes, weight, bias) as runner:
            for batch in range(self.walk.batches):
                values = runner.infer({name: self.student.get(name, batch) for name in step.sources})
                for name in step.outputs:
                    self.student.add(name, values[f"{name}//q" if name in codes else name])

    def _rounded(self, layer: Layer) -> WeightCodes:
        weight = self.walk.graph.constant(layer.weight)
        assert weight is not None
        bias = None if layer.bias is None else self.walk.graph.constant(layer.bias)
        values = None if bias is None else bias.astype(np.float32).reshape(-1)
        source = self.walk.codes((layer.source,))[layer.source]
        rows = np.moveaxis(weight, layer.axis, 0).reshape(weight.shape[layer.axis], -1)
        limit = self.walk.dialect.weight_max
        scales = large_enough_for_bias(row_scales(rows, limit), values, source.scale)
        codes = nearest_codes(rows, scales, limit)
        if self.walk.options.second_order and layer.op != "MatMul":
            codes = self._better(layer, rows, scales, codes, source)
        shape = (weight.shape[layer.axis], *np.delete(weight.shape, layer.axis))
        return WeightCodes(np.ascontiguousarray(np.moveaxis(codes.reshape(shape), 0, layer.axis)), scales, values)

    def _better(self, layer: Layer, rows: Floats, scales: Floats, codes: npt.NDArray[np.int8], source: Codes) -> npt.NDArray[np.int8]:
        """`codes`, with the rows that second-order rounding improves on samples which it did not see."""
        if np.abs(rows - codes * scales[:, None]).max() < 1e-3 * float(scales.min()) or self.walk.batches < 2:
            return codes
        seen, unseen = (ColumnMoments.of(self.step.nodes[0], rows.shape, (self.walk.batches + 1) // 2) for _ in range(2))
        if seen is None or unseen is None:
            return codes
        for batch in range(self.walk.batches):
            values = (self.student.get(layer.source, batch).astype(np.float32) - np.float32(source.zero)) * source.scale
            (seen if batch % 2 == 0 else unseen).add(values)
        if seen.seen < rows.shape[1] * PLACES_PER_COLUMN:
            return codes
        better: npt.NDArray[np.int8] = codes.copy()
        for moments, held, part in zip(seen.groups(), unseen.groups(), np.array_split(np.arange(len(rows)), seen.count), strict=True):
            tried = second_order_codes(rows[part], scales[part], moments, self.walk.dialect.weight_max)
            gains = output_error(rows[part], tried, scales[part], held) < output_error(rows[part], codes[part], scales[part], held)
            better[part[gains]] = tried[gains]
        return better


def real_rows(weights: WeightCodes, axis: int) -> Floats:
    """What the codes stand for."""
    shape = [1] * weights.codes.ndim
    shape[axis] = -1
    return np.asarray(weights.codes * weights.scales.reshape(shape), np.float32)


def quantized(values: Array, codes: Codes) -> Array:
    """ONNX's QuantizeLinear."""
    limits = np.iinfo(codes.zero.dtype)
    wide = np.rint(values / codes.scale) + int(codes.zero)
    return np.asarray(np.clip(wide, limits.min, limits.max).astype(codes.zero.dtype))


def _uses(order: list[Step]) -> dict[str, int]:
    uses: dict[str, int] = {}
    for step in order:
        for name in step.sources:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _wide(values: Array) -> Array:
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _narrow(values: Array) -> Array:
    """Half precision where it holds the values: the teacher's part of the spool is the largest."""
    if values.dtype != np.float32 or (values.size and max(float(values.max()), -float(values.min())) > _HALF_LIMIT):
        return values
    return values.astype(np.float16)


def not_repairable(error: Exception) -> bool:
    """Whether `error` means that this network cannot be walked through, rather than that the run is over."""
    return isinstance(error, Rejected | Unfit) and error.code != "cancelled"
