"""What a student costs on this device: each distinct operation is timed once, alone, and kept in the device's table of costs; a student's estimate
is the sum over its operations.

A sum knows what launches cost, and not what a runtime fuses: who decides between students measures the few that remain as a whole (`whole_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from ..compression.base import Stopwatch
from ..compression.search.costs import CostTable
from ..core.costs import Cost
from ..core.digest import digest_of_bytes
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
    """Costs by the device's own stopwatch. The table grows as operations are asked for; the default is kept in memory only."""

    stopwatch: Stopwatch
    table: CostTable = field(default_factory=lambda: CostTable(""))

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
        timed = _Alone(renamed, shapes)
        cost = self.table.get(timed)
        if cost is None:
            known = {f"x{index}": shape for index, shape in enumerate(shapes)}
            filters = first_filters(Wiring(shapes[0], (renamed,), ()), 0)
            # A stopwatch tells the least of several calls, which has no spread to speak of.
            cost = Cost(ms=self.stopwatch.ms(onnx_of_op(renamed, known, filters)), spread_ms=0.0)
            self.table.add({timed: cost})
        return cost.ms

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True, slots=True)
class _Alone:
    """One operation between inputs of these shapes."""

    op: Op
    shapes: tuple[Shape, ...]

    @property
    def key(self) -> str:
        return digest_of_bytes(f"student {self.op!r} {self.shapes!r}".encode())
