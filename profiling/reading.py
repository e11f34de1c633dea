"""What the machine draws over some seconds, rail by rail, and in all: the answer of ``edgewright power``."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .energy import Window, window_energy
from .recording import Recording
from .sampler import PERIOD_S, Sampler
from .sensor import Rail, Scope
from .survey import RailReader, Survey, open_rails
from .totals import Total

_LOOK_S = 0.5
OnRows = Callable[[Recording], None]


@dataclass(frozen=True, slots=True)
class RailReading:
    """One rail's mean. `mean_mw` is None with `reason` when it gave no number; `missing` readings of the samples failed."""

    rail: Rail
    mean_mw: float | None
    missing: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class TotalReading:
    """A sum of rails that is all of `scope`."""

    mean_mw: float
    rails: tuple[str, ...]
    scope: Scope


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Everything that was read. `total` is None with `total_reason`; `others` are further sums, of another scope."""

    rails: tuple[RailReading, ...]
    total: TotalReading | None
    total_reason: str | None
    others: tuple[TotalReading, ...]
    seconds: float
    samples: int
    read_cost_ms: float | None


def read_power(
    survey: Survey, seconds: float, *, period_s: float = PERIOD_S, on_rows: OnRows | None = None, stop: threading.Event | None = None
) -> PowerReading:
    """Read every rail for `seconds`; without any rail, at once. `on_rows` is called twice a second with the recording so far."""
    if not survey.rails:
        return PowerReading((), None, survey.totals.reason, (), 0.0, 0, None)
    stop = stop or threading.Event()
    with open_rails(survey, survey.rails) as reader:
        sampler = Sampler(reader, period_s=period_s)
        started_s = time.monotonic()
        sampler.sample()
        with sampler:
            while (left_s := started_s + seconds - time.monotonic()) > 0 and not stop.wait(min(_LOOK_S, left_s)):
                if on_rows is not None:
                    on_rows(sampler.recording)
        sampler.sample()
        if on_rows is not None:
            on_rows(sampler.recording)
        return summarise(survey, sampler.recording, reader, time.monotonic() - started_s)


def summarise(survey: Survey, recording: Recording, reader: RailReader, seconds: float) -> PowerReading:
    """The means of a recording of all the survey's rails."""
    faults = reader.faults
    rails = []
    for rail in survey.rails:
        mean_mw = _mean_mw(survey, recording, (rail.key,))
        found = sorted(fault for (key, fault), _ in faults.items() if key == rail.key)
        reason = None if mean_mw is not None else f"no reading ({', '.join(found) or 'too few'})"
        rails.append(RailReading(rail, mean_mw, recording.missing(rail.key), reason))
    total, reason = _total(survey, recording, survey.totals.main, rails)
    others = (_total(survey, recording, other, rails)[0] for other in survey.totals.others)
    costs = sorted(recording.costs_s)
    return PowerReading(
        rails=tuple(rails),
        total=total,
        total_reason=reason,
        others=tuple(other for other in others if other is not None),
        seconds=seconds,
        samples=len(recording) + recording.dropped,
        read_cost_ms=1000 * costs[len(costs) // 2] if costs else None,
    )


def _total(survey: Survey, recording: Recording, total: Total | None, rails: list[RailReading]) -> tuple[TotalReading | None, str | None]:
    if total is None:
        return None, survey.totals.reason
    mean_mw = _mean_mw(survey, recording, total.rails)
    labels = tuple(survey.rail(key).label for key in total.rails)
    if mean_mw is None:
        silent = ", ".join(f"{reading.rail.label}: {reading.reason}" for reading in rails if reading.rail.key in total.rails and reading.reason)
        return None, f"{silent or 'its rails never answered together'}; without that the total of the {total.scope} cannot be said"
    return TotalReading(mean_mw, labels, total.scope), None


def _mean_mw(survey: Survey, recording: Recording, keys: tuple[str, ...]) -> float | None:
    """Over the time between the first and the last reading, corrected for the sensor's filter where it is known."""
    series = recording.series(keys)
    if len(series) == 0:
        return None
    filter_s = max((survey.filter_s(key) or 0.0 for key in keys), default=0.0)
    energy = window_energy(series, Window(series.times_s[0], series.times_s[-1]), filter_s)
    if energy is not None and math.isfinite(energy.mean_mw):
        return energy.mean_mw
    return series.values[0] if series.quantity == "power" else None
