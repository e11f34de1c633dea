"""What a student costs on this device: each distinct operation is timed once, alone, and kept; a student's estimate is the sum over its operations.

A sum knows what launches cost, and not what a runtime fuses: who decides between students measures the few that remain as a whole (`whole_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from ..compression.base import Stopwatch
from .filters import first_filters
from .onnx_form import onnx_of_op
from .wiring import Add, Concat, Mean, Op, Shape, Wiring, sources_of


class Costs(Protocol):
    """Milliseconds of students at batch 1."""

    def ms(self, wiring: Wiring) -> float:
        """An estimate that is cheap to have."""
        ...

    def whole_ms(self, model: Any) -> float:
        """The whole model, measured."""
        ...


@dataclass
class MeasuredCosts:
    """Costs by the device's own stopwatch. The table grows as operations are asked for."""

    stopwatch: Stopwatch
    _table: dict[tuple[Op, tuple[Shape, ...]], float] = field(default_factory=dict)

    def ms(self, wiring: Wiring) -> float:
        alone = [self._of(op, tuple(wiring.shapes[name] for name in sources_of(op))) for op in wiring.ops]
        # A call of the runtime is paid once by a whole student, and was paid by every operation that was timed alone.
        return self._call_ms + sum(max(0.0, ms - self._call_ms) for ms in alone)

    def whole_ms(self, model: Any) -> float:
        return self.stopwatch.ms(model)

    @cached_property
    def _call_ms(self) -> float:
        """A call of the runtime that computes next to nothing: the mean of one number."""
        return self._of(Mean("y", "x"), ((1, 1, 1),))

    def _of(self, op: Op, shapes: tuple[Shape, ...]) -> float:
        renamed = replace(op, name="y", left="x0", right="x1") if isinstance(op, Add | Concat) else replace(op, name="y", source="x0")
        key = (renamed, shapes)
        if key not in self._table:
            known = {f"x{index}": shape for index, shape in enumerate(shapes)}
            filters = first_filters(Wiring(shapes[0], (renamed,), ()), 0)
            self._table[key] = self.stopwatch.ms(onnx_of_op(renamed, known, filters))
        return self._table[key]

    def __len__(self) -> int:
        return len(self._table)
