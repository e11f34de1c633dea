"""What a child and its descendants take, and what the board has left. Read from ``/proc``; light: the idle daemon loads this file.

Where the GPU shares the processor's memory (Jetson) what CUDA allocates is in no process's resident memory, and who owns it is told to root alone
(``/sys/kernel/debug/nvmap``). There the drop of the board's available memory since the child began counts as the child's own, when it is more than
its resident memory: the memory of others that grew meanwhile is in it, so that such a limit errs on the board's side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..profiling.board import read_board
from ..profiling.sysfs import Sysfs


@dataclass(frozen=True, slots=True)
class Memory:
    """`taken_mb` by the child; `available_mb` on the board without swapping, None where it does not say."""

    taken_mb: float
    available_mb: float | None


class MemoryWatch:
    """Looks at one child from its start on. `root` is where the board's own files are."""

    def __init__(self, leader: int, root: Path = Path("/")) -> None:
        self._leader = leader
        self._tree = Sysfs(root)
        self._is_shared = read_board(root).is_jetson
        self._before_mb = self._available_mb()

    def look(self) -> Memory:
        taken_mb, available_mb = group_rss_mb(self._leader), self._available_mb()
        if self._is_shared and available_mb is not None and self._before_mb is not None:
            taken_mb = max(taken_mb, self._before_mb - available_mb)
        return Memory(taken_mb, available_mb)

    def _available_mb(self) -> float | None:
        for line in (self._tree.text("proc/meminfo") or "").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                words = value.split()
                return int(words[0]) / 1024 if words and words[0].isdecimal() else None
        return None


def group_rss_mb(leader: int) -> float:
    """Resident memory of a process and its descendants in MB; what has ended counts nothing."""
    total_kb = 0
    waiting = [leader]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total_kb += int(file.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    waiting.extend(int(child) for child in file.read().split())
        except (OSError, IndexError, ValueError):
            continue
    return total_kb / 1024
