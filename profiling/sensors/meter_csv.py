"""An external meter whose program appends to a CSV: MLPerf's ``Time,Watts,Volts,Amps,PF`` and anything else with a column of watts.

Configured in ``[meter]`` of ``/etc/edgewright/power.toml``. The last whole line is the reading, until no new one
has come for `_STALE_S`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..power_config import Meter, read_power_config
from ..sensor import Rail, Readings, Traits
from ..sysfs import Sysfs

_STALE_S = 10.0
_TAIL_BYTES = 4096
_MAX_MW = 1e8
_COLUMNS = {"watts": 1e3, "w": 1e3, "power_w": 1e3, "apower": 1e3, "power": 1e3, "mw": 1.0, "power_mw": 1.0}


@dataclass(slots=True)
class _CsvReadings:
    tree: Sysfs
    rail: Rail
    path: str
    column: int
    scale: float
    clock_s: Callable[[], float] = time.monotonic
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    _last: bytes = b""
    _changed_s: float = 0.0

    def read(self) -> list[float | None]:
        value = self._read()
        if value is None:
            self.faults[self.rail.key, "no data"] += 1
        return [value]

    def _read(self) -> float | None:
        line = _last_line(self.tree, self.path)
        now_s = self.clock_s()
        if line != self._last:
            self._last, self._changed_s = line, now_s
        elif now_s - self._changed_s > _STALE_S:
            return None
        return _number(line, self.column, self.scale)

    def close(self) -> None: ...


class MeterCsv:
    """The `Sensor` of a meter's log."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        meter = read_power_config(tree).meter
        if meter is None or meter.kind != "csv":
            return "no meter of kind csv in /etc/edgewright/power.toml"
        if not tree.exists(str(meter.path)):
            return f"the meter's log {meter.path} is not there"
        return None if _column(tree, meter) is not None else f"the meter's log {meter.path} has no column {', '.join(sorted(_COLUMNS))}"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        meter = read_power_config(tree).meter
        assert meter is not None
        return (Rail("meter_csv/meter", "meter", "meter_csv", Traits(filter_s=None), covers=meter.scope),)

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        meter = read_power_config(tree).meter
        assert meter is not None
        column, scale = _column(tree, meter) or (0, 1.0)
        return _CsvReadings(tree, rails[0], str(meter.path), column, scale)


def _column(tree: Sysfs, meter: Meter) -> tuple[int, float] | None:
    """Which column holds the power, and what turns it into milliwatts."""
    header = (tree.text(str(meter.path)) or "").partition("\n")[0].split(",")
    for index, name in enumerate(header):
        if (scale := _COLUMNS.get(name.strip().lower())) is not None:
            return index, scale
    return None


def _last_line(tree: Sysfs, path: str) -> bytes:
    try:
        descriptor = tree.open(path)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        data = tree.read(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    # What stands after the last line feed is still being written.
    return data.rpartition(b"\n")[0].rpartition(b"\n")[2]


def _number(line: bytes, column: int, scale: float) -> float | None:
    try:
        value = float(line.split(b",")[column]) * scale
    except (IndexError, ValueError):
        return None
    return value if abs(value) <= _MAX_MW else None


SENSOR = MeterCsv()
