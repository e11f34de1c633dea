"""Finds out what the board's own power sensor is like: a load step, seen through the sensor, gives its filter constant, step and cost.

What is found is for the owner to hold against what the driver says, and to put into ``/etc/edgewright/power.toml`` where the driver says nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..core.statistics import percentile
from .recording import Recording, Series
from .sampler import Sampler
from .survey import Survey, open_rails

PERIOD_S = 0.02
IDLE_S, LOAD_S, AFTER_S = 2.0, 4.0, 4.0
MIN_STEP_SHARE = 0.03
MIN_STEPS = 6
_SHORTEST_S, _LONGEST_S = 0.005, 3.0
_BUFFER_BYTES = 1 << 20

StepLoad = Callable[[], "object"]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What was found. `filter_s` None with `reason` when the step was too small to tell."""

    sensor: str
    filter_s: float | None
    expected_filter_s: float | None
    resolution_mw: float | None
    step_mw: float
    read_p50_ms: float
    read_p99_ms: float
    read_max_ms: float
    seconds: float
    reason: str | None = None


def run_self_test(survey: Survey) -> SelfTest | str:
    """Step the load of this machine and look; about ten seconds. A text says why there is nothing to test."""
    if not survey.tree.is_this_machine:
        return "the self-test steps the load of this machine, whose power another root does not show"
    total = survey.totals.widest_known
    rails = survey.rails_of(total) if total is not None else survey.rails
    rails = tuple(rail for rail in rails if rail.quantity == "power")
    if not rails:
        return survey.totals.reason or "only energy counters are here: they have no filter to find"
    with open_rails(survey, rails) as reader:
        sampler = Sampler(reader, period_s=PERIOD_S)
        with sampler:
            time.sleep(IDLE_S)
            on_s = time.monotonic()
            with full_load():
                time.sleep(LOAD_S)
            off_s = time.monotonic()
            time.sleep(AFTER_S)
    filters = [survey.filter_s(rail.key) for rail in rails]
    return judge_step(sampler.recording, on_s, off_s, None if None in filters else max(value or 0.0 for value in filters))


@contextmanager
def full_load() -> Iterator[None]:
    """Every core hashes: the hash leaves the interpreter's lock, so that threads are enough and end at once."""
    stop = threading.Event()
    block = bytes(_BUFFER_BYTES)

    def work() -> None:
        while not stop.is_set():
            hashlib.sha256(block).digest()

    threads = [threading.Thread(target=work, name="load-step", daemon=True) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def judge_step(recording: Recording, on_s: float, off_s: float, expected_filter_s: float | None) -> SelfTest:
    """What a recording with a load from `on_s` to `off_s` says of its sensor."""
    series = recording.series([rail.key for rail in recording.rails])
    costs = sorted(recording.costs_s)
    resolution_mw = _resolution_mw(recording)
    fit = fit_step(series, on_s, off_s) if len(series) >= 50 else None
    reason = None
    if fit is None:
        reason = "the sensor gave too few readings"
    elif abs(fit.step_mw) < max(MIN_STEP_SHARE * abs(fit.idle_mw), MIN_STEPS * (resolution_mw or 0.0)):
        reason = f"the load step moved the reading by {fit.step_mw:.0f} mW only: too little to see a filter"
    return SelfTest(
        sensor="+".join(dict.fromkeys(rail.sensor for rail in recording.rails)),
        filter_s=None if fit is None or reason else fit.filter_s,
        expected_filter_s=expected_filter_s,
        resolution_mw=resolution_mw,
        step_mw=0.0 if fit is None else fit.step_mw,
        read_p50_ms=1000 * percentile(costs, 50) if costs else 0.0,
        read_p99_ms=1000 * percentile(costs, 99) if costs else 0.0,
        read_max_ms=1000 * costs[-1] if costs else 0.0,
        seconds=recording.times_s[-1] - recording.times_s[0] if costs else 0.0,
        reason=reason,
    )


@dataclass(frozen=True, slots=True)
class StepFit:
    """idle + step · response, where the response is a first-order filter's with the constant `filter_s`."""

    filter_s: float
    idle_mw: float
    step_mw: float
    rest: float


def fit_step(series: Series, on_s: float, off_s: float) -> StepFit:
    """The filter constant that fits best by least squares: a grid of constants, then a golden section around the best."""
    grid = [_SHORTEST_S * (_LONGEST_S / _SHORTEST_S) ** (index / 40) for index in range(41)]
    best = min(range(41), key=lambda index: _fit(series, on_s, off_s, grid[index]).rest)
    low, high = grid[max(0, best - 1)], grid[min(40, best + 1)]
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(30):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _fit(series, on_s, off_s, left).rest < _fit(series, on_s, off_s, right).rest:
            high = right
        else:
            low = left
    found = _fit(series, on_s, off_s, (low + high) / 2)
    # Shorter than what the sampling resolves: there is no filter to speak of.
    return found if found.filter_s > 1.2 * _SHORTEST_S else StepFit(0.0, found.idle_mw, found.step_mw, found.rest)


def _fit(series: Series, on_s: float, off_s: float, filter_s: float) -> StepFit:
    """Idle and step by linear least squares for one constant."""
    response = [_response(time_s, on_s, off_s, filter_s) for time_s in series.times_s]
    count, sum_r, sum_y = len(response), math.fsum(response), math.fsum(series.values)
    sum_rr, sum_ry = math.fsum(r * r for r in response), math.fsum(r * y for r, y in zip(response, series.values, strict=True))
    spread = sum_rr - sum_r * sum_r / count
    step = (sum_ry - sum_r * sum_y / count) / spread if spread > 0 else 0.0
    idle = (sum_y - step * sum_r) / count
    rest = math.fsum((y - idle - step * r) ** 2 for r, y in zip(response, series.values, strict=True))
    return StepFit(filter_s, idle, step, rest)


def _response(time_s: float, on_s: float, off_s: float, filter_s: float) -> float:
    if time_s <= on_s:
        return 0.0
    if time_s <= off_s:
        return 1 - math.exp(-(time_s - on_s) / filter_s)
    return (1 - math.exp(-(off_s - on_s) / filter_s)) * math.exp(-min(700.0, (time_s - off_s) / filter_s))


def _resolution_mw(recording: Recording) -> float | None:
    """The smallest step that occurs again and again between neighbouring values of the first rail; None when too few values were seen."""
    values = sorted({round(value, 3) for value in recording.columns[0] if not math.isnan(value)})
    gaps = [after - before for before, after in itertools.pairwise(values)]
    known = recording.rails[0].traits.resolution_mw
    # Power is volts times amps: steps of the volts lie between those of the amps.
    gaps = [gap for gap in gaps if gap > (known or 0.0) / 2 and gap > 0]
    if len(gaps) < 3:
        return None
    least = min(gaps)
    return _middle([gap for gap in gaps if gap < 1.5 * least])


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
