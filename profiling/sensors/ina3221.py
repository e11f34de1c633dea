"""TI INA3221 through the kernel's hwmon driver: Jetson with JetPack 5, 6 and 7 (millivolts and milliamps per channel).

NVIDIA's boot script sets 512 averages. The chip does not average in blocks: each conversion moves the register by 1/N of the difference (SBOS576A
§8.4.1), so that readings are low-passed. Unused channels have no label, or ``NC``, or are disabled, or answer ENODATA. ``in7`` and ``curr4`` are
sums over channels, no rails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..board import read_board
from ..sensor import Rail, Readings, SensorError, Traits
from ..sysfs import Sysfs
from ._attributes import Source, open_sources, voltage_times_current
from ._hwmon import Chip, find_chips

DRIVER = "ina3221"
LSB_UV = 40.0
# SBOS576A, electrical characteristics: offset typically 40, at most 80 µV; gain 0.1 and 0.25 % in each of voltage and current; conversion times up
# to 10 % long.
OFFSET_UV, OFFSET_MAX_UV = 40.0, 80.0
GAIN, GAIN_MAX = 0.001 * math.sqrt(2), 0.0025 * math.sqrt(2)
FILTER_ERROR = 0.03
# The shunt's tolerance is not published: ±1 % is assumed.
SHUNT_TOLERANCE = 0.01
_DEFAULT_SHUNT_UOHM = {"tegra210": 5000, "tegra186": 10000, "tegra194": 5000, "tegra234": 5000, "tegra264": 2000}
_TWO_MILLIOHM_PARTS = {"p3701", "p3834"}
_FALLBACK_SHUNT_UOHM = 5000


class Ina3221:
    """The `Sensor` of Jetson's own power monitor."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        if _sources(tree):
            return None
        if any(chip.name == DRIVER for chip in find_chips(tree)):
            return "an INA3221 is there, but none of its channels has a label: its device tree names no rails"
        return "no hwmon device named ina3221: this is no Jetson with JetPack 5 or later, or its sysfs is not readable"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        return tuple(source.rail for source in _sources(tree).values())

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        return open_sources(tree, rails, lambda: _sources(tree))


def ina3221_traits(millivolts: float, shunt_uohm: float, filter_s: float | None) -> Traits:
    """What the data sheet says of a channel with this shunt at this voltage."""
    per_uv = millivolts / shunt_uohm  # µV / µΩ is A; times mV is mW
    return Traits(
        filter_s=filter_s,
        filter_error=FILTER_ERROR,
        resolution_mw=LSB_UV * per_uv,
        error=SensorError(OFFSET_UV * per_uv, OFFSET_MAX_UV * per_uv, GAIN, GAIN_MAX, SHUNT_TOLERANCE),
    )


def shunt_uohm(tree: Sysfs) -> int:
    """The shunts of this board by NVIDIA's device trees, where the driver does not tell them."""
    board = read_board(tree.root)
    if _TWO_MILLIOHM_PARTS & set(board.parts):
        return 2000
    return _DEFAULT_SHUNT_UOHM.get(board.soc or "", _FALLBACK_SHUNT_UOHM)


def is_rail_label(label: str | None) -> bool:
    return bool(label) and label not in {"NC", "nc"} and not (label or "").startswith("sum of")


def _sources(tree: Sysfs) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for chip in find_chips(tree):
        if chip.name != DRIVER:
            continue
        filter_s = _filter_s(tree, chip)
        for number in (1, 2, 3):
            source = _source(tree, chip, number, filter_s)
            if source is not None:
                found[source.rail.key] = source
    return found


def _source(tree: Sysfs, chip: Chip, number: int, filter_s: float | None) -> Source | None:
    label = tree.text(f"{chip.folder}/in{number}_label")
    if label is None or not is_rail_label(label) or tree.integer(f"{chip.folder}/in{number}_enable") == 0:
        return None
    voltage, current = f"{chip.folder}/in{number}_input", f"{chip.folder}/curr{number}_input"
    resistor = tree.integer(f"{chip.folder}/shunt{number}_resistor")
    traits = ina3221_traits(abs(tree.integer(voltage) or 5000), resistor if resistor and resistor > 0 else shunt_uohm(tree), filter_s)
    rail = Rail(f"{DRIVER}/{chip.identity}/{number}", label, DRIVER, traits, address=chip.address)
    return Source(rail, voltage_times_current(voltage, current), 1e-3)


def _filter_s(tree: Sysfs, chip: Chip) -> float | None:
    """The time constant of N averages in one `update_interval`: a step decays by 1 - 1/N per conversion. None when the driver does not say."""
    samples, interval_ms = tree.integer(f"{chip.folder}/samples"), tree.integer(f"{chip.folder}/update_interval")
    if samples is None or interval_ms is None or not 1 <= samples <= 1024 or not 0 <= interval_ms <= 60_000:
        return None
    return 0.0 if samples == 1 else -interval_ms / 1000 / samples / math.log1p(-1 / samples)


SENSOR = Ina3221()
