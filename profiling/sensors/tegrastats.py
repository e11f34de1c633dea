"""NVIDIA's ``tegrastats``, when no kernel file can be read: a program that prints a line per interval. All formats since JetPack 4.

Its first number is the current value; the second is the mean since its start and is ignored, as is the maximum of JetPack 7.2.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sensor import Rail, Readings, Traits
from ..sysfs import Sysfs

INTERVAL_MS = 100
MAX_LINE_BYTES = 4096
_STALE_S = 2.0
_FIRST_LINE_S = 5.0
# NAME now[mW][/mean[mW][/max[mW]]]: a rail's name starts with a letter; a temperature has '@', memory a unit of bytes, engines have no slash.
_POWER = re.compile(
    r"(?<!\S)([A-Z][A-Z0-9_]*) (-?\d{1,7})(?:mW(?:/-?\d{1,7}mW){0,2}|/-?\d{1,7}(?:/-?\d{1,7})?)(?!\S)",
)
# What looks like ``NAME number`` and is none.
_NOT_RAILS = {"RAM", "SWAP", "IRAM", "CPU_FREQ", "EMC", "EMC_FREQ", "GR3D", "GR3D_FREQ", "APE", "MTS", "NVENC", "NVDEC", "NVJPG", "VIC", "MSENC"}


def parse_tegrastats(line: str) -> dict[str, float]:
    """Milliwatts by rail of one line; empty when it has none."""
    return {name: float(value) for name, value in _POWER.findall(line[:MAX_LINE_BYTES]) if name not in _NOT_RAILS}


@dataclass(slots=True)
class _TegrastatsReadings:
    """Owns the process and the thread that reads its last line."""

    rails: tuple[Rail, ...]
    process: subprocess.Popen[bytes]
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    _values: dict[str, float] = field(default_factory=dict)
    _read_s: float = 0.0
    _first: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._follow, name="tegrastats", daemon=True).start()
        self._first.wait(_FIRST_LINE_S)

    def _follow(self) -> None:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline(MAX_LINE_BYTES):
            self._values, self._read_s = parse_tegrastats(line.decode(errors="replace")), time.monotonic()
            self._first.set()

    def read(self) -> list[float | None]:
        is_stale = time.monotonic() - self._read_s > _STALE_S
        row = [None if is_stale else self._values.get(rail.label) for rail in self.rails]
        for value, rail in zip(row, self.rails, strict=True):
            if value is None:
                self.faults[rail.key, "no data"] += 1
        return row

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Tegrastats:
    """The `Sensor` of last resort on a Jetson."""

    is_last_resort = True

    def unavailable(self, tree: Sysfs) -> str | None:
        if not tree.is_this_machine:
            return "tegrastats is not asked below another root: it would answer for this machine"
        if shutil.which("tegrastats") is None:
            return "the program tegrastats is not here: no Jetson"
        return None

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        process = _start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline(MAX_LINE_BYTES)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        traits = Traits(filter_s=None)
        return tuple(Rail(f"tegrastats/{name}", name, "tegrastats", traits) for name in parse_tegrastats(line.decode(errors="replace")))

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        readings = _TegrastatsReadings(tuple(rails), _start())
        readings.start()
        return readings


def _start() -> subprocess.Popen[bytes]:
    argv = ["tegrastats", "--interval", str(INTERVAL_MS)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


SENSOR = Tegrastats()
