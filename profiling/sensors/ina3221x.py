"""TI INA3221 through NVIDIA's IIO driver ``ina3221x``: Jetson with JetPack 4.

A power file comes from one conversion and is preferred to volts times amps. A channel without connection has no ``rail_name`` file, or ``NC``. The
number of averages is set in the device tree and cannot be read: the filter constant is unknown until ``doctor --power`` has measured it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..sensor import Rail, Readings
from ..sysfs import Sysfs
from ._attributes import MAX_MILLIWATTS, Factor, Source, open_sources, voltage_times_current
from .ina3221 import ina3221_traits, is_rail_label, shunt_uohm

DRIVER = "ina3221x"
_BUS = f"sys/bus/i2c/drivers/{DRIVER}"
_IIO = "sys/bus/iio/devices"
_ADDRESS = re.compile(r"\d+-00[0-9a-f]{2}")
_FOLDER = re.compile(r"iio[:_]device\d*")


class Ina3221x:
    """The `Sensor` of Jetson's power monitors under JetPack 4."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        if _sources(tree):
            return None
        return "no IIO device of the driver ina3221x: this is no Jetson with JetPack 4, or its files want root or the group i2c"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        return tuple(source.rail for source in _sources(tree).values())

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        return open_sources(tree, rails, lambda: _sources(tree))


def _sources(tree: Sysfs) -> dict[str, Source]:
    found: dict[str, Source] = {}
    shunt = shunt_uohm(tree)
    for folder, address in _folders(tree):
        for number in range(3):
            label = tree.text(f"{folder}/rail_name_{number}")
            if label is None or not is_rail_label(label):
                continue
            voltage, current, power = (f"{folder}/in_{what}{number}_input" for what in ("voltage", "current", "power"))
            traits = ina3221_traits(abs(tree.integer(voltage) or 5000), shunt, None)
            rail = Rail(f"{DRIVER}/{address or folder.rpartition('/')[2]}/{number}", label, DRIVER, traits, address=address)
            if tree.exists(power):
                found[rail.key] = Source(rail, (Factor(power, MAX_MILLIWATTS),), 1.0)
            else:
                found[rail.key] = Source(rail, voltage_times_current(voltage, current), 1e-3)
    return found


def _folders(tree: Sysfs) -> Iterator[tuple[str, str]]:
    """(folder, I2C address), each chip once."""
    seen = set()
    for address in tree.list(_BUS):
        if _ADDRESS.fullmatch(address):
            # Older trees call the folder `iio_device`, newer ones `iio:deviceN`.
            for entry in tree.list(f"{_BUS}/{address}"):
                if _FOLDER.fullmatch(entry):
                    seen.add(entry)
                    yield f"{_BUS}/{address}/{entry}", address
    for entry in tree.list(_IIO):
        if entry not in seen and tree.text(f"{_IIO}/{entry}/name") in {DRIVER, "ina3221"}:
            parts = (tree.real(f"{_IIO}/{entry}") or "").split("/")
            yield f"{_IIO}/{entry}", next((part for part in reversed(parts) if _ADDRESS.fullmatch(part)), "")


SENSOR = Ina3221x()
