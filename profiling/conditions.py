"""What a measurement was taken under: board, power mode, clocks, temperatures, load. Read, never assumed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..core.measurement import Conditions
from .board import read_board


def read_conditions(
    root: Path = Path("/"),
    *,
    threads: int = 1,
    batch: int = 1,
    backend: str = "",
    backend_version: str = "",
    provider: str = "",
) -> Conditions:
    """The conditions now; what this board does not say stays empty."""
    board = read_board(root)
    return Conditions(
        board=board.model,
        processor=board.processor,
        power_mode=_power_mode(root),
        clocks_mhz=_clocks_mhz(root),
        temperatures_c=temperatures_c(root),
        throttled=_throttled(root),
        load_1min=os.getloadavg()[0] if root == Path("/") else None,
        threads=threads,
        batch=batch,
        backend=backend,
        backend_version=backend_version,
        provider=provider,
    )


def temperatures_c(root: Path = Path("/")) -> dict[str, float]:
    """Degrees by thermal zone; a zone that is switched off (EAGAIN, or −256 °C) is left out. A PC's sensors come from psutil."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        with contextlib.suppress(OSError, ValueError):
            degrees = int((zone / "temp").read_bytes()) / 1000
            if degrees > -200:
                found[(zone / "type").read_text(encoding="ascii").strip()] = degrees
    if not found and root == Path("/"):
        found = _psutil_temperatures_c()
    return found


def _psutil_temperatures_c() -> dict[str, float]:
    try:
        import psutil
    except ImportError:
        return {}
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return {f"{chip} {entry.label}".strip(): entry.current for chip, entries in sensors.items() for entry in entries}


def _power_mode(root: Path) -> str | None:
    """nvpmodel's current mode (``pmode:0002`` → ``2``), or None where there is none."""
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        text = (root / "var/lib/nvpmodel/status").read_text(encoding="ascii").strip()
        return str(int(text.rpartition(":")[2]))
    return None


def _clocks_mhz(root: Path) -> dict[str, float]:
    clocks = {}
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        with contextlib.suppress(OSError, ValueError):
            clocks[policy.name] = int((policy / "scaling_cur_freq").read_bytes()) / 1000
    for device in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        with contextlib.suppress(OSError, ValueError):
            clocks[device.name] = int((device / "cur_freq").read_bytes()) / 1e6
    return clocks


def _throttled(root: Path) -> bool | None:
    """Whether a cooling device other than a fan is active; None where there are none."""
    states = []
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        with contextlib.suppress(OSError, ValueError):
            if "fan" not in (device / "type").read_text(encoding="ascii"):
                states.append(int((device / "cur_state").read_bytes()) > 0)
    return any(states) if states else None
