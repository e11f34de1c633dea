"""Latency of any callable: warm-up, exact percentiles, throughput; several callables interleaved so that drift hits all alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from itertools import accumulate

from ..core.collection import collection_paused
from ..core.errors import Unfit
from ..core.measurement import Latency
from ..core.statistics import mean, percentile_interval, percentile_or_none, standard_deviation
from .steady import drift_of

_NS_PER_MS = 1e6
Call = Callable[[], object]
Clock = Callable[[], int]


def measure_latency(
    call: Call,
    *,
    seconds: float = 2.0,
    warmup_s: float = 0.3,
    min_samples: int = 100,
    max_samples: int = 100_000,
    clock_ns: Clock = time.perf_counter_ns,
    cancel: Callable[[], bool] | None = None,
) -> Latency:
    """Call `call` for about `seconds` after warming up, and at least `min_samples` times.

    Returns:
        Latency in milliseconds; percentiles below their minimum sample count are None.

    Raises:
        Unfit: ``cancelled``.
    """
    timed = measure_interleaved(
        {"": call},
        seconds=seconds,
        warmup_s=warmup_s,
        min_samples=min_samples,
        max_samples=max_samples,
        clock_ns=clock_ns,
        cancel=cancel,
    )
    return timed[""]


def measure_interleaved(
    calls: Mapping[str, Call],
    *,
    seconds: float = 2.0,
    warmup_s: float = 0.3,
    min_samples: int = 100,
    max_samples: int = 100_000,
    clock_ns: Clock = time.perf_counter_ns,
    cancel: Callable[[], bool] | None = None,
    at: Callable[[str], None] | None = None,
) -> dict[str, Latency]:
    """Measure several callables in turns of shuffled order, `seconds` of each: a slow moment of the machine hits all of them.

    A turn runs each callable in a short burst, so that its working set is warm as it is in steady use; the first call of a burst is
    not counted. `at` hears the name before each warming up and each burst, outside of what is timed.

    Raises:
        Unfit: ``cancelled``.
    """
    samples: dict[str, list[int]] = {name: [] for name in calls}
    spent_ns = dict.fromkeys(calls, 0)
    burst = {}
    for name, call in calls.items():
        if at is not None:
            at(name)
        burst[name] = _burst_length(call, warmup_s, clock_ns)
    shuffle = random.Random(0)
    order = list(calls)
    # A collection of cycles in the middle of a call would be counted as the model's.
    with collection_paused():
        while open_calls := [name for name in order if _wants_more(samples[name], spent_ns[name], seconds, min_samples, max_samples)]:
            if cancel is not None and cancel():
                raise Unfit("cancelled", "the measurement was cancelled", "Start it again")
            shuffle.shuffle(open_calls)
            for name in open_calls:
                if at is not None:
                    at(name)
                spent_ns[name] += _run_burst(calls[name], burst[name], samples[name], clock_ns, is_alone=len(calls) == 1)
    return {name: summarise(values, spent_ns[name]) for name, values in samples.items()}


def summarise(samples_ns: list[int], spent_ns: int | None = None, times_s: list[float] | None = None) -> Latency:
    """Samples in nanoseconds to milliseconds, exact percentiles and their intervals.

    `spent_ns` is the time they took, for the throughput; `times_s` when each was complete, for the drift (default: one after the other).

    Raises:
        ValueError: no samples.
    """
    values_ms = [value / _NS_PER_MS for value in samples_ns]
    ordered = sorted(values_ms)
    drift = drift_of(times_s or [total / 1000 for total in accumulate(values_ms)], values_ms)
    middle = mean(ordered)
    spent_s = (spent_ns or sum(samples_ns)) / 1e9
    return Latency(
        mean=middle,
        p50=percentile_or_none(ordered, 50),
        p90=percentile_or_none(ordered, 90),
        p99=percentile_or_none(ordered, 99),
        samples=len(ordered),
        min=ordered[0],
        max=ordered[-1],
        throughput_per_s=len(ordered) / spent_s if spent_s > 0 else None,
        standard_deviation=standard_deviation(ordered),
        p50_ci95=percentile_interval(ordered, 50),
        p90_ci95=percentile_interval(ordered, 90),
        p99_ci95=percentile_interval(ordered, 99),
        drift_percent_per_min=None if drift is None else drift.percent_per_min,
        steady=None if drift is None else drift.steady,
    )


def _wants_more(samples: list[int], spent_ns: int, seconds: float, min_samples: int, max_samples: int) -> bool:
    if len(samples) >= max_samples:
        return False
    return len(samples) < min_samples or spent_ns < seconds * 1e9


def _burst_length(call: Call, warmup_s: float, clock_ns: Clock) -> int:
    """Warm up for `warmup_s`, at least three calls; then as many calls as fill 20 ms."""
    started = clock_ns()
    count = 0
    while count < 3 or clock_ns() - started < warmup_s * 1e9:
        call()
        count += 1
    each_ns = max(1, (clock_ns() - started) // count)
    return int(min(200, max(2, 20_000_000 // each_ns)))


def _run_burst(call: Call, length: int, samples: list[int], clock_ns: Clock, *, is_alone: bool) -> int:
    if not is_alone:
        call()
    started = before = clock_ns()
    for _ in range(length):
        call()
        after = clock_ns()
        samples.append(after - before)
        before = after
    return before - started
