"""The device's health for telemetry, read from ``/proc`` and ``/sys`` directly: a few files, no import that the idle daemon would have to carry."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

MB = 1e6


@dataclass(frozen=True, slots=True)
class Vitals:
    """One reading. None = this board does not say. `busy_s` and `total_s` are processor time since boot, for the next difference;
    `written_bytes` is what this process and its ended children had the kernel write to disks.
    """

    uptime_s: float
    busy_s: float | None
    total_s: float | None
    memory_used_mb: float | None
    disk_free_mb: float | None
    temperature_c: float | None
    written_bytes: int | None = None


def read_vitals(state: Path, root: Path = Path("/")) -> Vitals:
    """Read the vitals of the machine whose file system starts at `root`; `state` is where free space matters."""
    busy_s, total_s = _processor_times(root / "proc/stat")
    space = os.statvfs(state)
    return Vitals(
        uptime_s=float((_text(root / "proc/uptime") or "0").partition(" ")[0]),
        busy_s=busy_s,
        total_s=total_s,
        memory_used_mb=_memory_used_mb(root / "proc/meminfo"),
        disk_free_mb=round(space.f_bavail * space.f_frsize / MB, 1),
        temperature_c=_hottest_c(root / "sys/class/thermal"),
        written_bytes=written_bytes(root),
    )


def cpu_percent(before: Vitals, after: Vitals) -> float | None:
    """Processor use between two readings, of all cores together."""
    if before.busy_s is None or after.busy_s is None or before.total_s is None or after.total_s is None or after.total_s <= before.total_s:
        return None
    return round(100 * (after.busy_s - before.busy_s) / (after.total_s - before.total_s), 1)


def written_bytes(root: Path = Path("/")) -> int | None:
    """The wear of the flash: ``write_bytes`` of ``/proc/self/io``, which a buried child's are added to (proc_pid_io(5))."""
    for line in (_text(root / "proc/self/io") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "write_bytes" and value.strip().isdecimal():
            return int(value)
    return None


def memory_mb(root: Path = Path("/")) -> int:
    total = _meminfo(root / "proc/meminfo").get("MemTotal")
    return round(total / MB) if total is not None else 0


def boot_id(root: Path = Path("/")) -> str:
    return (_text(root / "proc/sys/kernel/random/boot_id") or "unknown").strip()


def machine() -> str:
    return platform.machine()


def _processor_times(path: Path) -> tuple[float | None, float | None]:
    line = (_text(path) or "").partition("\n")[0].split()
    if len(line) < 6 or line[0] != "cpu":
        return None, None
    ticks = [int(word) for word in line[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    idle = ticks[3] + ticks[4]  # idle and waiting for disks
    return (sum(ticks) - idle) / hertz, sum(ticks) / hertz


def _memory_used_mb(path: Path) -> float | None:
    info = _meminfo(path)
    if "MemTotal" not in info or "MemAvailable" not in info:
        return None
    return round((info["MemTotal"] - info["MemAvailable"]) / MB, 1)


def _meminfo(path: Path) -> dict[str, int]:
    """Bytes by name; ``/proc/meminfo`` counts in KiB."""
    lines = (line.split() for line in (_text(path) or "").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) >= 2 and words[1].isdigit()}


def _hottest_c(folder: Path) -> float | None:
    readings = []
    for path in folder.glob("thermal_zone*/temp"):
        text = _text(path)
        # Unused zones of a Jetson answer with an error or with -256 °C.
        if text is not None and text.strip().lstrip("-").isdigit() and int(text) > 0:
            readings.append(int(text) / 1000)
    return max(readings, default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
