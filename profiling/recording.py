"""What the sampler has read: times and one column per rail, bounded, with every gap accounted. Plain arrays: no allocation per number."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from .sensor import Quantity, Rail

MISSING = math.nan
DEFAULT_CAPACITY = 100_000


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over the monotonic clock: power in mW or a counter in mJ. Only moments at which all its rails answered."""

    times_s: Sequence[float]
    values: Sequence[float]
    quantity: Quantity = "power"

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(slots=True)
class Recording:
    """Rows in the order of time. When `capacity` is reached the oldest quarter goes, and is counted in `dropped`."""

    rails: tuple[Rail, ...]
    capacity: int = DEFAULT_CAPACITY
    dropped: int = 0
    missed_slots: int = 0
    times_s: array[float] = field(default_factory=lambda: array("d"))
    costs_s: array[float] = field(default_factory=lambda: array("d"))
    columns: tuple[array[float], ...] = ()

    def __post_init__(self) -> None:
        self.columns = tuple(array("d") for _ in self.rails)

    def __len__(self) -> int:
        return len(self.times_s)

    def append(self, time_s: float, row: Sequence[float | None], cost_s: float) -> None:
        """`cost_s` is how long the reading took."""
        if len(self.times_s) >= self.capacity:
            self._forget(max(1, self.capacity // 4))
        self.times_s.append(time_s)
        self.costs_s.append(cost_s)
        for column, value in zip(self.columns, row, strict=True):
            column.append(MISSING if value is None else value)

    def _forget(self, count: int) -> None:
        self.dropped += count
        for column in (self.times_s, self.costs_s, *self.columns):
            del column[:count]

    def missing(self, key: str) -> int:
        """How many readings of a rail failed."""
        return sum(1 for value in self.columns[self._place(key)] if math.isnan(value))

    def series(self, keys: Sequence[str]) -> Series:
        """The sum of some rails, at every moment at which all of them answered."""
        places = [self._place(key) for key in keys]
        chosen = [self.columns[place] for place in places]
        sums = [math.fsum(values) for values in zip(*chosen, strict=True)] if len(chosen) > 1 else list(chosen[0])
        kept = [index for index, value in enumerate(sums) if not math.isnan(value)]
        return Series([self.times_s[index] for index in kept], [sums[index] for index in kept], self.rails[places[0]].quantity)

    def _place(self, key: str) -> int:
        return next(index for index, rail in enumerate(self.rails) if rail.key == key)
