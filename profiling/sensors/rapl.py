"""Intel and AMD RAPL: energy counters in microjoules through ``/sys/class/powercap``.

Each zone's counter wraps at its own ``max_energy_range_uj`` and is readable by root alone since Linux 5.10. A package zone covers the processor,
``psys`` (on some laptops) the whole platform. ``intel-rapl-mmio`` counts the same packages again and is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sensor import Rail, Readings, Scope, Traits
from ..sysfs import Attribute, Sysfs

_FOLDER = "sys/class/powercap"
_ZONE = re.compile(r"(intel|amd)-rapl:\d+(:\d+)?")
_MAX_RANGE_UJ = 1 << 62


@dataclass(slots=True)
class _Counter:
    """One zone's counter, made to grow without wrapping. `turn_uj` is added so far for the wraps that were seen."""

    rail: Rail
    attribute: Attribute
    span_uj: int
    last_uj: int | None = None
    turn_uj: int = 0

    def read_mj(self) -> float | None:
        now_uj = self.attribute.read()
        if now_uj is None or not 0 <= now_uj <= self.span_uj:
            return None
        if self.last_uj is not None and now_uj < self.last_uj:
            self.turn_uj += self.span_uj + 1
        self.last_uj = now_uj
        return (self.turn_uj + now_uj) / 1000


@dataclass(slots=True)
class _RaplReadings:
    counters: list[_Counter]
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)

    def read(self) -> list[float | None]:
        row = [counter.read_mj() for counter in self.counters]
        for value, counter in zip(row, self.counters, strict=True):
            if value is None:
                self.faults[counter.rail.key, counter.attribute.fault or "garbage"] += 1
        return row

    def close(self) -> None:
        for counter in self.counters:
            counter.attribute.close()


class Rapl:
    """The `Sensor` of x86 processors."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        zones = _zones(tree)
        if not zones:
            return "no RAPL zones below /sys/class/powercap: a virtual machine, or not an x86 processor"
        attribute = tree.attribute(f"{_FOLDER}/{zones[0]}/energy_uj")
        value = attribute.read()
        attribute.close()
        if value is None and attribute.fault == "forbidden":
            return "RAPL's energy_uj is readable by root alone: chmod it, or run as root"
        return None if value is not None else f"RAPL's energy_uj cannot be read ({attribute.fault})"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        return tuple(_rail(tree, zone) for zone in _zones(tree))

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        counters = []
        for rail in rails:
            zone = rail.key.partition("/")[2]
            span = tree.integer(f"{_FOLDER}/{zone}/max_energy_range_uj")
            # Without a range (it is there on every kernel) nothing can be said about a wrap: none is then believed.
            span_uj = span if span is not None and 0 < span <= _MAX_RANGE_UJ else _MAX_RANGE_UJ
            counters.append(_Counter(rail, tree.attribute(f"{_FOLDER}/{zone}/energy_uj"), span_uj))
        return _RaplReadings(counters)


def _rail(tree: Sysfs, zone: str) -> Rail:
    label = tree.text(f"{_FOLDER}/{zone}/name") or zone
    covers: Scope | None = "board" if label == "psys" else None
    return Rail(f"rapl/{zone}", label, "rapl", Traits(), "energy", covers)


def _zones(tree: Sysfs) -> tuple[str, ...]:
    return tuple(zone for zone in tree.list(_FOLDER) if _ZONE.fullmatch(zone) and tree.exists(f"{_FOLDER}/{zone}/energy_uj"))


SENSOR = Rapl()
