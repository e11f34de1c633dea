"""Intel and AMD RAPL: the package's energy counter, in microjoules, through ``/sys/class/powercap``.

The counter wraps at ``max_energy_range_uj`` and is readable by root alone since Linux 5.10. It covers the processor package, not the board.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from ..sensor import Rail, Readings, SensorInfo


@dataclass(slots=True)
class _RaplReadings:
    zones: tuple[Path, ...]
    _last: dict[Path, tuple[float, int]] = field(default_factory=dict)

    def read_mw(self) -> dict[str, float | None]:
        """Mean power since the previous reading; None on the first."""
        return {zone.name: self._read(zone) for zone in self.zones}

    def _read(self, zone: Path) -> float | None:
        try:
            energy_uj = int((zone / "energy_uj").read_bytes())
            span_uj = int((zone / "max_energy_range_uj").read_bytes())
        except (OSError, ValueError):
            return None
        now = time.monotonic()
        before = self._last.get(zone)
        self._last[zone] = (now, energy_uj)
        if before is None or now <= before[0]:
            return None
        return (energy_uj - before[1]) % (span_uj + 1) / (now - before[0]) / 1000

    def close(self) -> None:
        self._last.clear()


class Rapl:
    """The `Sensor` of x86 processors."""

    def unavailable(self, root: Path) -> str | None:
        zones = _zones(root)
        if not zones:
            return "no RAPL zones below /sys/class/powercap: a virtual machine, or not an x86 processor"
        try:
            (zones[0] / "energy_uj").read_bytes()
        except PermissionError:
            return "RAPL's energy_uj is readable by root alone: chmod it, or run as root"
        except OSError as error:
            return f"RAPL cannot be read: {error.strerror}"
        return None

    def describe(self, root: Path) -> SensorInfo:
        rails = tuple(Rail((zone / "name").read_text(encoding="ascii").strip(), zone.name) for zone in _zones(root))
        packages = tuple(rail.key for rail in rails if rail.label.startswith("package"))
        return SensorInfo(rails, packages, "package" if packages else None, None if packages else "RAPL has no package zone here")

    def open(self, root: Path) -> Readings:
        return _RaplReadings(_zones(root))


def _zones(root: Path) -> tuple[Path, ...]:
    """Top-level zones only: the others are parts of them."""
    folder = root / "sys/class/powercap"
    return tuple(zone for zone in sorted(folder.glob("*-rapl:*")) if zone.name.count(":") == 1 and (zone / "energy_uj").exists())


SENSOR = Rapl()
