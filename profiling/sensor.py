"""The sensor seam: a file in `sensors` says whether its hardware is there, which rails it has, and reads them.

A sensor module has a module-level ``SENSOR``. Rules:
- everything is looked up through a `Sysfs`, which is ``/`` on a board and a copied tree in tests;
- a sensor reports rails as they are; which of them add up to the module's or board's power is decided once, in `totals`;
- a reading that failed is None, never zero, and its fault is counted by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..core.plugins import load_plugin, plugin_names
from . import sensors
from .sysfs import Sysfs

# What a number covers: the processor package, a graphics card, the module on its carrier, the whole board, or what the wall socket delivers.
Scope = Literal["package", "gpu", "module", "board", "wall"]
Quantity = Literal["power", "energy"]


@dataclass(frozen=True, slots=True)
class SensorError:
    """The data sheet's words: typical (one standard deviation) and largest; gains are fractions. `shunt` is a tolerance, evenly spread."""

    offset_mw: float
    offset_max_mw: float
    gain: float
    gain_max: float
    shunt: float


@dataclass(frozen=True, slots=True)
class Traits:
    """How a rail's number relates to the truth. None = its maker does not say and nobody has measured it.

    `filter_s` is the time constant of its averaging (0: none), `filter_error` that constant's own relative error; `resolution_mw` is one step.
    `error` says by how much one sensor of this kind may differ from the truth for as long as it lives.
    """

    filter_s: float | None = 0.0
    filter_error: float = 0.0
    resolution_mw: float | None = None
    error: SensorError | None = None


@dataclass(frozen=True, slots=True)
class Rail:
    """One supply rail: `label` as the board names it, `key` unique on the machine, `address` the chip's on its bus or ''.

    `covers` is set where this rail alone is the whole of something. `quantity` says what is read: milliwatts, or millijoules of a counter.
    """

    key: str
    label: str
    sensor: str
    traits: Traits = Traits()
    quantity: Quantity = "power"
    covers: Scope | None = None
    address: str = ""


class Readings(Protocol):
    """An opened sensor. `faults` counts what went wrong, by rail key and fault."""

    @property
    def faults(self) -> Counter[tuple[str, str]]: ...

    def read(self) -> Sequence[float | None]:
        """One number per opened rail, in their order: milliwatts (signed), or a counter's millijoules; None where the hardware did not answer."""
        ...

    def close(self) -> None: ...


class Sensor(Protocol):
    """One kind of power sensor. A last resort is used only where no other sensor has rails."""

    @property
    def is_last_resort(self) -> bool: ...

    def unavailable(self, tree: Sysfs) -> str | None:
        """None when it can be read; else why not, and what would help."""
        ...

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        """Only asked when `unavailable` is None."""
        ...

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        """Start reading some of its rails."""
        ...


def load_sensor(name: str) -> Sensor:
    sensor: Sensor = load_plugin(sensors, name).SENSOR
    return sensor


def sensor_names() -> tuple[str, ...]:
    return plugin_names(sensors)
