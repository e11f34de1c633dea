"""Writes a recording for people: a CSV while it grows, and a drawing at the end."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from typing_extensions import Self

from ..core.errors import Rejected
from ..core.files import write_atomic
from ..core.trace import Trace, TracedRail, TraceWindow
from .plot import svg_of
from .recording import Recording
from .sensor import Rail

_PLOT_POINTS = 50_000


class Recorder:
    """Appends new rows to `record` whenever `rows` is called; draws `plot` when it is closed without an error. Either may be None."""

    def __init__(self, rails: Sequence[Rail], record: Path | None, plot: Path | None) -> None:
        self._rails = rails
        self._record = record
        self._plot = plot
        self._file: IO[str] | None = None
        self._writer: Any = None
        self._written = 0
        self._last: Recording | None = None

    def __enter__(self) -> Self:
        if self._record is not None:
            try:
                self._file = self._record.open("w", newline="", encoding="utf-8")
            except OSError as error:
                raise Rejected("record-unwritable", f"{self._record} cannot be written: {error.strerror}", "Give another --record FILE") from error
            self._writer = csv.writer(self._file)
            self._writer.writerow(["time_s", *(_column(rail) for rail in self._rails), "read_ms"])
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None and self._plot is not None and self._last is not None:
            write_atomic(self._plot, svg_of(trace_of(self._last)).encode())

    def rows(self, recording: Recording) -> None:
        """Write what is new. The first column is seconds since the first reading of what is kept."""
        self._last = recording
        if self._writer is None:
            return
        known = recording.dropped + len(recording)
        for index in range(max(0, self._written - recording.dropped), len(recording)):
            numbers = (column[index] for column in recording.columns)
            row = ["" if math.isnan(number) else f"{number:.3f}" for number in numbers]
            self._writer.writerow([f"{recording.times_s[index]:.6f}", *row, f"{1000 * recording.costs_s[index]:.3f}"])
        self._written = known


def _column(rail: Rail) -> str:
    return f"{rail.label} ({rail.sensor}) {'mJ' if rail.quantity == 'energy' else 'mW'}"


def trace_of(recording: Recording, windows: tuple[TraceWindow, ...] = (), *, limit: int = _PLOT_POINTS) -> Trace:
    """The recording as it travels and as it is drawn: powers (a counter's slopes), at most `limit` moments, evenly thinned."""
    step = max(1, math.ceil(len(recording) / limit))
    kept = range(0, len(recording), step)
    times = [recording.times_s[index] for index in kept]
    begin_s = times[0] if times else 0.0
    rails = tuple(TracedRail(label=rail.label, key=rail.key, sensor=rail.sensor) for rail in recording.rails)
    columns = []
    for rail, column in zip(recording.rails, recording.columns, strict=True):
        values = [column[index] for index in kept]
        columns.append(_powers(times, values) if rail.quantity == "energy" else values)
    return Trace(
        rails=rails,
        times_us=tuple(round((time_s - begin_s) * 1e6) for time_s in times),
        values_mw=tuple(tuple(None if math.isnan(value) else round(value) for value in values) for values in columns),
        begin_s=begin_s,
        windows=windows,
    )


def _powers(times: list[float], counter_mj: list[float]) -> list[float]:
    """A counter's slope up to each reading; missing for the first."""
    found = [math.nan]
    for index in range(1, len(times)):
        spent_s = times[index] - times[index - 1]
        found.append((counter_mj[index] - counter_mj[index - 1]) / spent_s if spent_s > 0 else math.nan)
    return found[: len(times)]
