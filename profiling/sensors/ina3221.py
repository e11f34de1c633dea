"""TI INA3221 through the kernel's hwmon driver: Jetson with JetPack 5, 6 and 7 (millivolts and milliamps per channel).

NVIDIA's boot script sets 512 averages; the chip averages by moving 1/512 of the difference per conversion, so readings are low-passed with a
time constant of ``update_interval`` (SBOS576A §8.4.1). Unused channels have no label, or ``NC``, or answer ENODATA.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..board import Board, read_board
from ..sensor import Rail, Readings, SensorInfo

# Labels whose sum is the module's power, per board (NVIDIA's rail tables; see the documentation). VDDQ_VDD2_1V8AO of AGX Orin is fed from
# VIN_SYS_5V0 and must not be added.
_TOTALS: tuple[tuple[str, ...], ...] = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
)


@dataclass(frozen=True, slots=True)
class _Channel:
    rail: Rail
    voltage: Path
    current: Path


@dataclass(slots=True)
class _Ina3221Readings:
    channels: tuple[_Channel, ...]
    _files: dict[Path, int] = field(default_factory=dict)

    def read_mw(self) -> dict[str, float | None]:
        readings: dict[str, float | None] = {}
        for channel in self.channels:
            millivolts, milliamps = self._read(channel.voltage), self._read(channel.current)
            readings[channel.rail.key] = None if millivolts is None or milliamps is None else millivolts * milliamps / 1000
        return readings

    def _read(self, path: Path) -> int | None:
        """One attribute by a kept descriptor; a gated unit answers EAGAIN or ENODATA, a moved one ENODEV: reopened next time."""
        try:
            if path not in self._files:
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return int(os.pread(self._files[path], 64, 0))
        except (OSError, ValueError):
            descriptor = self._files.pop(path, None)
            if descriptor is not None:
                os.close(descriptor)
            return None

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


class Ina3221:
    """The `Sensor` of Jetson's own power monitor."""

    def unavailable(self, root: Path) -> str | None:
        if _channels(root):
            return None
        return "no hwmon device named ina3221: this is no Jetson with JetPack 5 or later, or its sysfs is not readable"

    def describe(self, root: Path) -> SensorInfo:
        channels = _channels(root)
        total = _total(channels, read_board(root))
        reason = None if total else "the rails of this board are not known, so that none of them can be called the total"
        filters = [_filter_s(device) for device in _devices(root)]
        return SensorInfo(tuple(channel.rail for channel in channels), total, "module" if total else None, reason, filter_s=max(filters, default=0.0))

    def open(self, root: Path) -> Readings:
        return _Ina3221Readings(_channels(root))


def _devices(root: Path) -> list[Path]:
    found = []
    for device in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        try:
            if (device / "name").read_text(encoding="ascii").strip() == "ina3221":
                found.append(device)
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _channels(root: Path) -> tuple[_Channel, ...]:
    channels = []
    for device in _devices(root):
        for number in (1, 2, 3):
            label = _text(device / f"in{number}_label")
            if label in {"", "NC"} or _text(device / f"in{number}_enable") == "0":
                continue
            rail = Rail(label, f"{device.name}.{label}")
            channels.append(_Channel(rail, device / f"in{number}_input", device / f"curr{number}_input"))
    return tuple(channels)


def _total(channels: tuple[_Channel, ...], board: Board) -> tuple[str, ...]:
    del board
    keys = {channel.rail.label: channel.rail.key for channel in channels}
    return next((tuple(keys[label] for label in labels) for labels in _TOTALS if all(label in keys for label in labels)), ())


def _filter_s(device: Path) -> float:
    """The averaging's time constant; without averaging a reading is one conversion, and the constant 0."""
    samples, interval_ms = _text(device / "samples"), _text(device / "update_interval")
    if not samples.isdecimal() or not interval_ms.isdecimal() or int(samples) <= 1:
        return 0.0
    return int(interval_ms) / 1000


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


SENSOR = Ina3221()
