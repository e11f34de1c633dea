"""A battery's own gauge: while it discharges, it delivers what the whole board draws. Slow (1 to 30 s) and coarse.

Drivers disagree on the sign. USB-C negotiation entries (``ucsi-source-psy-…``) are what a supply could deliver, no load, and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sensor import Rail, Readings, Scope, Traits
from ..sysfs import Attribute, Sysfs

_FOLDER = "sys/class/power_supply"
_MAX_UW = 10**10
_MAX_UV = 10**9
_MAX_UA = 10**9


@dataclass(slots=True)
class _Battery:
    """Reads ``power_now``, or the product of voltage and current."""

    rail: Rail
    power: Attribute | None
    voltage: Attribute
    current: Attribute

    def read_mw(self) -> float | None:
        if self.power is not None:
            power_uw = self.power.read()
            return None if power_uw is None or abs(power_uw) > _MAX_UW else abs(power_uw) / 1e3
        voltage_uv, current_ua = self.voltage.read(), self.current.read()
        if voltage_uv is None or current_ua is None or not 0 <= voltage_uv <= _MAX_UV or abs(current_ua) > _MAX_UA:
            return None
        return voltage_uv * abs(current_ua) / 1e9

    def attributes(self) -> tuple[Attribute, ...]:
        return (self.voltage, self.current) if self.power is None else (self.power,)


@dataclass(slots=True)
class _BatteryReadings:
    batteries: list[_Battery]
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)

    def read(self) -> list[float | None]:
        row = [battery.read_mw() for battery in self.batteries]
        for value, battery in zip(row, self.batteries, strict=True):
            if value is None:
                fault = next((attribute.fault for attribute in battery.attributes() if attribute.fault), None)
                self.faults[battery.rail.key, fault or "garbage"] += 1
        return row

    def close(self) -> None:
        for battery in self.batteries:
            for attribute in battery.attributes():
                attribute.close()


class BatteryGauge:
    """The `Sensor` of batteries."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        found = _batteries(tree)
        if not found:
            return "no battery below /sys/class/power_supply"
        if not any(_is_discharging(tree, name) for name in found):
            return "the battery does not discharge: its gauge shows the charger, not the load"
        return None

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        found = _batteries(tree)
        covers: Scope | None = "board" if len(found) == 1 else None
        # What a gauge averages over, its maker does not say.
        return tuple(Rail(f"battery/{name}", name, "battery", Traits(filter_s=None), covers=covers) for name in found if _is_discharging(tree, name))

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        return _BatteryReadings([_battery(tree, rail) for rail in rails])


def _battery(tree: Sysfs, rail: Rail) -> _Battery:
    folder = f"{_FOLDER}/{rail.label}"
    power = tree.attribute(f"{folder}/power_now") if tree.exists(f"{folder}/power_now") else None
    return _Battery(rail, power, tree.attribute(f"{folder}/voltage_now"), tree.attribute(f"{folder}/current_now"))


def _batteries(tree: Sysfs) -> tuple[str, ...]:
    return tuple(
        name
        for name in tree.list(_FOLDER)
        if not name.startswith("ucsi-")
        and tree.text(f"{_FOLDER}/{name}/type") == "Battery"
        and tree.text(f"{_FOLDER}/{name}/scope") != "Device"  # a mouse's battery
        and (tree.exists(f"{_FOLDER}/{name}/power_now") or tree.exists(f"{_FOLDER}/{name}/current_now"))
    )


def _is_discharging(tree: Sysfs, name: str) -> bool:
    return tree.text(f"{_FOLDER}/{name}/status") == "Discharging"


SENSOR = BatteryGauge()
