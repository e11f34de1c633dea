"""Reading rails from kernel files: one product of numbers per rail, by kept descriptors, found again when the kernel renumbers its devices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..sensor import Rail
from ..sysfs import Attribute, Sysfs

_LOCATE_AGAIN_S = 1.0
# No rail of a board that this program runs on carries more; a file that says so is torn or not what it seems.
MAX_MILLIVOLTS = 100_000
MAX_MILLIAMPS = 1_000_000
MAX_MILLIWATTS = 10_000_000


@dataclass(frozen=True, slots=True)
class Factor:
    """One file, and the largest magnitude that is believed."""

    path: str
    limit: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rail's number comes from: the product of `factors`, times `scale`, is in mW (or mJ)."""

    rail: Rail
    factors: tuple[Factor, ...]
    scale: float


Locate = Callable[[], Mapping[str, Source]]


@dataclass(slots=True)
class AttributeReadings:
    """`Readings` of `sources`. `locate` finds them anew by rail key when a device has vanished, at most once a second."""

    tree: Sysfs
    sources: list[Source]
    locate: Locate
    clock_s: Callable[[], float] = time.monotonic
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    _open: list[tuple[Attribute, ...]] = field(default_factory=list)
    _next_locate_s: float = 0.0

    def __post_init__(self) -> None:
        self._open = [self._attributes(source) for source in self.sources]

    def read(self) -> list[float | None]:
        row = [self._read(source, attributes) for source, attributes in zip(self.sources, self._open, strict=True)]
        if None in row and any(attribute.fault == "vanished" for attributes in self._open for attribute in attributes):
            self._find_again()
        return row

    def close(self) -> None:
        for attributes in self._open:
            for attribute in attributes:
                attribute.close()

    def _read(self, source: Source, attributes: tuple[Attribute, ...]) -> float | None:
        product = source.scale
        for attribute, factor in zip(attributes, source.factors, strict=True):
            value = attribute.read()
            if value is None or not -factor.limit <= value <= factor.limit:
                self.faults[source.rail.key, attribute.fault or "garbage"] += 1
                return None
            product *= value
        return product

    def _find_again(self) -> None:
        now_s = self.clock_s()
        if now_s < self._next_locate_s:
            return
        self._next_locate_s = now_s + _LOCATE_AGAIN_S
        found = self.locate()
        for index, source in enumerate(self.sources):
            moved = found.get(source.rail.key)
            if moved is not None and moved.factors != source.factors:
                for attribute in self._open[index]:
                    attribute.close()
                self.sources[index], self._open[index] = moved, self._attributes(moved)

    def _attributes(self, source: Source) -> tuple[Attribute, ...]:
        return tuple(self.tree.attribute(factor.path) for factor in source.factors)


def open_sources(tree: Sysfs, rails: Sequence[Rail], locate: Locate) -> AttributeReadings:
    """Readings of `rails`; one that has gone since it was found answers None until it is back."""
    found = locate()
    return AttributeReadings(tree, [found.get(rail.key) or Source(rail, (Factor("vanished", 0),), 1.0) for rail in rails], locate)


def voltage_times_current(voltage: str, current: str) -> tuple[Factor, Factor]:
    """Millivolts times milliamps: scaled by 1/1000 that is milliwatts."""
    return Factor(voltage, MAX_MILLIVOLTS), Factor(current, MAX_MILLIAMPS)
