"""What a measurement was taken under: board, power mode, clocks, fan, temperatures, throttling, load. Read at both ends, never assumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core.measurement import Conditions
from .board import Board, read_board
from .sensors._hwmon import find_chips
from .sysfs import Sysfs

_THERMAL = "sys/class/thermal"
_VMSTAT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the machine. Counters count since boot; what the board does not say is empty or None."""

    time_s: float
    boot_id: str
    board: Board
    power_mode: str | None
    clocks_mhz: dict[str, float]
    temperatures_c: dict[str, float]
    trips_passed: tuple[str, ...]
    cooling: dict[str, int]
    over_current: dict[str, int]
    fan: dict[str, float]
    busy_s: float | None
    own_s: float
    swapped_pages: int | None
    load_1min: float | None
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Workload:
    """What the numbers are of: the runtime, its threads and its batch."""

    threads: int = 1
    batch: int = 1
    backend: str = ""
    backend_version: str = ""
    provider: str = ""


def take_snapshot(root: Path = Path("/"), tree: Sysfs | None = None) -> Snapshot:
    """Look now; some milliseconds, because every thermal zone is a question to its driver."""
    tree = tree or Sysfs(root)
    temperatures, trips = _temperatures(tree)
    return Snapshot(
        time_s=time.monotonic(),
        boot_id=tree.text("proc/sys/kernel/random/boot_id") or "",
        board=read_board(tree.root),
        power_mode=power_mode(tree),
        clocks_mhz=_clocks_mhz(tree),
        temperatures_c=temperatures,
        trips_passed=trips,
        cooling=_cooling(tree),
        over_current=_over_current(tree),
        fan=_fan(tree),
        busy_s=_busy_s(tree),
        own_s=time.process_time(),
        swapped_pages=_swapped_pages(tree),
        load_1min=os.getloadavg()[0] if tree.is_this_machine else None,
    )


def conditions_between(before: Snapshot, after: Snapshot, workload: Workload) -> Conditions:
    """The conditions of what was measured between two looks."""
    events = {name: after.over_current[name] - count for name, count in before.over_current.items() if name in after.over_current}
    return Conditions(
        board=before.board.model,
        processor=before.board.processor,
        power_mode=before.power_mode,
        clocks_mhz=before.clocks_mhz,
        temperatures_c=before.temperatures_c,
        throttled=_throttled(before, after),
        load_1min=before.load_1min,
        threads=workload.threads,
        batch=workload.batch,
        backend=workload.backend,
        backend_version=workload.backend_version,
        provider=workload.provider,
        power_mode_end=after.power_mode,
        clocks_end_mhz=after.clocks_mhz,
        temperatures_end_c=after.temperatures_c,
        trips_passed=tuple(sorted({*before.trips_passed, *after.trips_passed})),
        cooling={name: max(state, before.cooling.get(name, 0)) for name, state in after.cooling.items()},
        over_current_events=events,
        fan=after.fan,
        other_cpu_percent=other_cpu_percent(before, after),
        swapped_pages=_difference(before.swapped_pages, after.swapped_pages),
    )


def other_cpu_percent(before: Snapshot, after: Snapshot) -> float | None:
    """How much of the whole machine's processor time other processes took."""
    if before.busy_s is None or after.busy_s is None or after.time_s <= before.time_s:
        return None
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return round(max(0.0, 100 * others_s / (after.time_s - before.time_s) / before.cores), 1)


def power_mode(tree: Sysfs) -> str | None:
    """nvpmodel's current mode (``pmode:0002`` → ``2``), or None where there is none."""
    digits = (tree.text("var/lib/nvpmodel/status") or "").rpartition(":")[2].strip()
    return str(int(digits)) if digits.isascii() and digits.isdigit() else None


def _throttled(before: Snapshot, after: Snapshot) -> bool | None:
    """Whether a cooling device other than a fan was active at either end; None where there are none."""
    states = [*before.cooling.values(), *after.cooling.values()]
    return any(state > 0 for state in states) if states else None


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _temperatures(tree: Sysfs) -> tuple[dict[str, float], tuple[str, ...]]:
    """Degrees by thermal zone, and the zones above a trip point. A zone that is switched off (EAGAIN, or −256 °C) is left out."""
    found: dict[str, float] = {}
    passed = []
    for entry in tree.list(_THERMAL):
        name, millidegrees = tree.text(f"{_THERMAL}/{entry}/type"), tree.integer(f"{_THERMAL}/{entry}/temp")
        if not entry.startswith("thermal_zone") or not name or millidegrees is None or not -100_000 < millidegrees < 300_000:
            continue
        found[name] = millidegrees / 1000
        passed += [f"{name} {trip_c:g} °C" for trip_c in _trips_c(tree, f"{_THERMAL}/{entry}") if found[name] >= trip_c]
    if not found and tree.is_this_machine:
        found = _psutil_temperatures_c()
    return found, tuple(passed)


def _trips_c(tree: Sysfs, zone: str) -> Iterator[float]:
    """The trip points that slow the board down; ``active`` ones only turn the fan."""
    for entry in tree.list(zone):
        if entry.startswith("trip_point_") and entry.endswith("_type") and tree.text(f"{zone}/{entry}") in {"passive", "hot", "critical"}:
            millidegrees = tree.integer(f"{zone}/{entry.removesuffix('type')}temp")
            if millidegrees is not None and millidegrees > 0:
                yield millidegrees / 1000


def _psutil_temperatures_c() -> dict[str, float]:
    try:
        import psutil
    except ImportError:
        return {}
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return {f"{chip} {entry.label}".strip(): entry.current for chip, entries in sensors.items() for entry in entries}


def _clocks_mhz(tree: Sysfs) -> dict[str, float]:
    """Measured where the board measures: the request (``scaling_cur_freq``) does not show over-current throttling."""
    clocks = {}
    folder = "sys/devices/system/cpu/cpufreq"
    for policy in tree.list(folder):
        khz = tree.integer(f"{folder}/{policy}/cpuinfo_cur_freq") or tree.integer(f"{folder}/{policy}/scaling_cur_freq")
        if policy.startswith("policy") and khz is not None:
            clocks[policy] = khz / 1000
    for device in tree.list("sys/class/devfreq"):
        hertz = tree.integer(f"sys/class/devfreq/{device}/cur_freq")
        if hertz is not None and _is_gpu(tree, device):
            clocks[device] = hertz / 1e6
    return clocks


def _is_gpu(tree: Sysfs, device: str) -> bool:
    node = (tree.text(f"sys/class/devfreq/{device}/device/of_node/name") or "").strip("\0")
    return "gpu" in device or node in {"gv11b", "gp10b", "ga10b", "gb10b", "gpu"} or device.endswith((".gv11b", ".gp10b", ".ga10b"))


def _cooling(tree: Sysfs) -> dict[str, int]:
    """The state of every cooling device but fans; several of one type count as the most active."""
    states: dict[str, int] = {}
    for entry in tree.list(_THERMAL):
        kind, state = tree.text(f"{_THERMAL}/{entry}/type"), tree.integer(f"{_THERMAL}/{entry}/cur_state")
        if entry.startswith("cooling_device") and kind and "fan" not in kind.lower() and state is not None:
            states[kind] = max(state, states.get(kind, 0))
    return states


def _over_current(tree: Sysfs) -> dict[str, int]:
    """BPMP's over-current events since boot: they halve the clocks for a millisecond, which no clock file shows."""
    counts = {}
    for chip in find_chips(tree):
        if chip.name == "soctherm_oc":
            for number in (1, 2, 3):
                if (count := tree.integer(f"{chip.folder}/oc{number}_event_cnt")) is not None:
                    counts[f"oc{number}"] = count
    return counts


def _fan(tree: Sysfs) -> dict[str, float]:
    found = {}
    for chip in find_chips(tree):
        for file in ("pwm1", "rpm", "fan1_input"):
            if chip.name in {"pwmfan", "pwm_tach"} and (value := tree.integer(f"{chip.folder}/{file}")) is not None:
                found[file] = float(value)
    for file in ("target_pwm", "rpm_measured"):
        if (value := tree.integer(f"sys/devices/pwm-fan/{file}")) is not None:
            found[file] = float(value)
    return found


def _busy_s(tree: Sysfs) -> float | None:
    """Processor time of everybody since boot, of all cores together."""
    words = (tree.text("proc/stat") or "").partition("\n")[0].split()
    if len(words) < 6 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:9]):
        return None
    ticks = [int(word) for word in words[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _swapped_pages(tree: Sysfs) -> int | None:
    counts = [
        int(words[1])
        for line in (tree.text("proc/vmstat", _VMSTAT_BYTES) or "").splitlines()
        if len(words := line.split()) == 2 and words[0] in {"pswpin", "pswpout"} and words[1].isdigit()
    ]
    return sum(counts) if counts else None
