"""What Linux says about a process's memory and processor time."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KB = 1024
MB = 1e6
_RESET_PEAK = "5"  # proc(5), /proc/PID/clear_refs: "reset the peak resident set size to the current value"


@dataclass(frozen=True, slots=True)
class Memory:
    """One look. PSS divides a shared page among those who map it; USS is what ends with the process."""

    pss_mb: float
    uss_mb: float
    rss_mb: float


def memory_samples(text: str) -> list[Memory]:
    """Every complete look in the concatenated text of ``/proc/PID/smaps_rollup``."""
    samples = []
    for look in text.split("[rollup]")[1:]:
        kb = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB$", look, re.MULTILINE)}
        if {"Pss", "Rss", "Private_Clean", "Private_Dirty"} <= kb.keys():
            samples.append(Memory(_mb(kb["Pss"]), _mb(kb["Private_Clean"] + kb["Private_Dirty"]), _mb(kb["Rss"])))
    return samples


def _mb(kb: int) -> float:
    return kb * KB / MB


def rss_mb(pid: int) -> float:
    """Resident memory now."""
    return _status_mb(pid, "VmRSS")


def peak_rss_mb(pid: int) -> float:
    """The most resident memory since `reset_peak`, as the kernel has kept it: nothing falls between two looks."""
    return _status_mb(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def _status_mb(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return _mb(int(found[1]))


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processor_s(pid: int) -> float:
    """Processor time of all threads that a process has had, to the nanosecond: clock_getcpuclockid(3), which Python does not offer for others."""
    return time.clock_gettime(~pid << 3 | 2)


def wakeups(pid: int) -> int:
    """How often the living threads of a process have gone to sleep by themselves."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total


def other_pythons(own: set[int]) -> int:
    """How many processes besides `own` share pages with this interpreter. Those of other users are not seen."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sum(1 for pid in numbers if pid not in own and maps_our_interpreter(pid))


def maps_our_interpreter(pid: int) -> bool:
    """Whether a process maps the program that runs us, or the library of an interpreter that is built shared."""
    return bool(_interpreter_files(pid) & _interpreter_files(os.getpid()))


def _interpreter_files(pid: int) -> set[str]:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        return set(re.findall(r"/\S*/(?:libpython3\S*|python3[\d.]*)$", text, re.MULTILINE))
    return set()
