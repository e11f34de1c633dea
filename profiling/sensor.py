"""The sensor seam: a file in `sensors` says whether its hardware is there, which rails it has, and reads them.

A sensor module has a module-level ``SENSOR``. Rules:
- everything is looked up below a `root` folder, which is ``/`` on a board and a copied tree in tests;
- a sensor reports rails as they are; which of them add up to the module's or board's power is `total`, per board;
- a failed reading is None, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..core.plugins import load_plugin, plugin_names
from . import sensors

Scope = Literal["module", "board", "wall", "package"]


@dataclass(frozen=True, slots=True)
class Rail:
    """One supply rail; `label` as the board names it, `key` unique on the board."""

    label: str
    key: str


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """What a sensor covers: `total` are the keys of the rails that add up to `scope`; empty with a reason when unknown.

    `filter_s` is the time constant of the sensor's averaging, 0 for none.
    """

    rails: tuple[Rail, ...]
    total: tuple[str, ...]
    scope: Scope | None
    total_reason: str | None
    filter_s: float = 0.0


class Readings(Protocol):
    """An opened sensor."""

    def read_mw(self) -> dict[str, float | None]:
        """Milliwatts now (signed), by rail key; None where the hardware did not answer."""
        ...

    def close(self) -> None: ...


class Sensor(Protocol):
    """One kind of power sensor."""

    def unavailable(self, root: Path) -> str | None:
        """None when it can be read below `root`; else why not, and what would help."""
        ...

    def describe(self, root: Path) -> SensorInfo:
        """Only asked when `unavailable` is None."""
        ...

    def open(self, root: Path) -> Readings: ...


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """One sensor: usable, or the reason why not."""

    name: str
    reason: str | None

    @property
    def is_usable(self) -> bool:
        return self.reason is None


def load_sensor(name: str) -> Sensor:
    sensor: Sensor = load_plugin(sensors, name).SENSOR
    return sensor


def sensor_statuses(root: Path) -> tuple[SensorStatus, ...]:
    """Every sensor found in the folder, for ``doctor`` and for reports."""
    return tuple(SensorStatus(name, load_sensor(name).unavailable(root)) for name in plugin_names(sensors))


def usable_sensors(root: Path) -> tuple[str, ...]:
    """The names of the sensors that can be read, those with a known total first."""
    usable = [status.name for status in sensor_statuses(root) if status.is_usable]
    return tuple(sorted(usable, key=lambda name: (not load_sensor(name).describe(root).total, name)))
