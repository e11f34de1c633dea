"""Any other hwmon device with a power or an energy file: INA219/226/228 boards, graphics cards, server supplies.

What such a rail covers is not known from its file; the owner says it in ``/etc/edgewright/power.toml``. A counter is preferred to a power.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..sensor import Quantity, Rail, Readings, Traits
from ..sysfs import Sysfs
from ._attributes import MAX_MILLIWATTS, Factor, Source, open_sources
from ._hwmon import Chip, find_chips

# Chips with a file of their own here, and NVIDIA's over-current events, which are no power.
_OTHERS = {"ina3221", "ina238", "soctherm_oc", "pwmfan", "pwm_tach"}
_POWER = re.compile(r"(power|energy)(\d+)_(input|average)")
_MAX_MICROJOULES = 1 << 62


class Hwmon:
    """The `Sensor` of everything with a power file."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        return None if _sources(tree) else "no other hwmon device has a power or an energy file"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        return tuple(source.rail for source in _sources(tree).values())

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        return open_sources(tree, rails, lambda: _sources(tree))


def _sources(tree: Sysfs) -> dict[str, Source]:
    chips = (chip for chip in find_chips(tree) if chip.name not in _OTHERS)
    return {source.rail.key: source for chip in chips for source in _sources_of(tree, chip)}


def _sources_of(tree: Sysfs, chip: Chip) -> Iterator[Source]:
    files = [match for entry in tree.list(chip.folder) if (match := _POWER.fullmatch(entry))]
    counters = {match.group(2) for match in files if match.group(1) == "energy"}
    taken = set()
    for match in sorted(files, key=lambda match: (match.group(1), match.group(2), match.group(3) != "input")):
        kind, number, _ = match.groups()
        if (kind, number) in taken or (kind == "power" and number in counters):
            continue
        taken.add((kind, number))
        quantity: Quantity = "energy" if kind == "energy" else "power"
        label = tree.text(f"{chip.folder}/{kind}{number}_label") or tree.text(f"{chip.folder}/label") or f"{chip.name} {kind}{number}"
        # An averaged power file does not say over how long.
        traits = Traits(filter_s=None if match.group(3) == "average" else 0.0)
        rail = Rail(f"hwmon/{chip.identity}/{kind}{number}", label, "hwmon", traits, quantity, address=chip.address)
        limit = _MAX_MICROJOULES if kind == "energy" else MAX_MILLIWATTS * 1000
        yield Source(rail, (Factor(f"{chip.folder}/{match.group(0)}", limit),), 1e-3)


SENSOR = Hwmon()
