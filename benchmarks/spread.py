"""Repeated figures in few numbers, and the conditions that they are only true under."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
from edgewright.controller.broker import find_mosquitto
from edgewright.core.statistics import median
from edgewright.profiling.board import read_board


class Spread(msgspec.Struct, frozen=True):
    """The middle and the ends of repeated measurements."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float], digits: int = 2) -> Spread:
        return cls(*(round(value, digits) for value in (median(values), min(values), max(values))))


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The machine during the run."""

    board: str
    processor: str
    cores: int
    kernel: str
    python: str
    broker: str
    disk: str
    load_1min: float


def conditions(broker: str, folder: Path) -> Conditions:
    """Read them; `folder` is where files are written."""
    board = read_board()
    return Conditions(
        board=board.model,
        processor=board.processor,
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        broker=_mosquitto_version() if broker == "mosquitto" else broker,
        disk=file_system(folder, Path("/proc/self/mountinfo").read_text(encoding="utf-8")),
        load_1min=round(os.getloadavg()[0], 2),
    )


def conditions_line(found: Conditions) -> str:
    parts = (
        found.board,
        found.processor,
        f"{found.cores} cores",
        f"Linux {found.kernel}",
        f"Python {found.python}",
        found.broker,
        found.disk,
        f"load {found.load_1min:g}",
    )
    return "conditions: " + ", ".join(part for part in parts if part)


def _mosquitto_version() -> str:
    binary = find_mosquitto()
    if binary is None:
        return "mosquitto"
    # It prints its help, whose first line is its name and version, and exits with 3.
    return subprocess.run([binary, "-h"], capture_output=True, text=True, timeout=10, check=False).stdout.partition("\n")[0].strip()


def file_system(folder: Path, mountinfo: str) -> str:
    """The type of the file system that holds `folder`: the longest mount point above it, the last of equals (proc(5), mountinfo)."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind
