"""TI INA238 through hwmon: the input of AGX Thor's carrier board. Microwatts; one ``label`` file names the rail.

The chip averages in blocks (by default 16 times 3 conversions of 1.05 ms): a reading is on average one block old, which the energy's correction
takes like a filter of that length.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..sensor import Rail, Readings, Traits
from ..sysfs import Sysfs
from ._attributes import MAX_MILLIWATTS, Factor, Source, open_sources, voltage_times_current
from ._hwmon import Chip, find_chips
from .ina3221 import is_rail_label

DRIVER = "ina238"
_DEFAULT_BLOCK_S = 0.05


class Ina238:
    """The `Sensor` of carrier boards with an INA238."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        return None if _sources(tree) else "no hwmon device named ina238: AGX Thor's carrier has one"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        return tuple(source.rail for source in _sources(tree).values())

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        return open_sources(tree, rails, lambda: _sources(tree))


def _sources(tree: Sysfs) -> dict[str, Source]:
    found = {}
    for chip in find_chips(tree):
        if chip.name == DRIVER and (source := _source(tree, chip)) is not None:
            found[source.rail.key] = source
    return found


def _source(tree: Sysfs, chip: Chip) -> Source | None:
    label = tree.text(f"{chip.folder}/label") or tree.text(f"{chip.folder}/in1_label") or f"{DRIVER} {chip.identity}"
    if not is_rail_label(label):
        return None
    interval_ms = tree.integer(f"{chip.folder}/update_interval")
    block_s = interval_ms / 1000 if interval_ms is not None and 0 < interval_ms <= 60_000 else _DEFAULT_BLOCK_S
    traits = Traits(filter_s=block_s, filter_error=0.1)
    rail = Rail(f"{DRIVER}/{chip.identity}", label, DRIVER, traits, address=chip.address)
    power = f"{chip.folder}/power1_input"
    if tree.exists(power):
        return Source(rail, (Factor(power, MAX_MILLIWATTS * 1000),), 1e-3)
    if tree.exists(f"{chip.folder}/in1_input") and tree.exists(f"{chip.folder}/curr1_input"):
        return Source(rail, voltage_times_current(f"{chip.folder}/in1_input", f"{chip.folder}/curr1_input"), 1e-3)
    return None


SENSOR = Ina238()
