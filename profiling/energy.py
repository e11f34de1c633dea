"""Energy per inference, from the board's own sensor; without one, None and the reason. Never a guess.

    E = ∫ P dt + τ·(P(end) − P(start))        trapezoid over jittered samples, τ = the sensor's filter constant

The second term undoes a first-order low-pass: what the filter still holds back at the end, less what it still carried at the start. Samples are
jittered, because a fixed rate aliases with the inference's own period.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..core.measurement import Energy
from ..core.statistics import mean, standard_deviation
from .sensor import Readings, SensorStatus, load_sensor, sensor_statuses, usable_sensors

SAMPLE_PERIOD_S = 0.1
_T95 = 2.0
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """What was measured, or why it was not; exactly one of the two is there."""

    energy: Energy | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PowerSample:
    """The total power at a moment of the monotonic clock."""

    time_s: float
    power_mw: float


def measure_energy(call: Call, *, seconds: float, root: Path = Path("/")) -> EnergyResult:
    """Run `call` for `seconds` while the board's total power is read.

    Returns:
        Gross energy in mJ per call with a 95 % interval from the spread of its tenths, or the reason why this machine cannot say.
    """
    for name in usable_sensors(root):
        sensor = load_sensor(name)
        info = sensor.describe(root)
        if not info.total:
            return EnergyResult(None, info.total_reason)
        readings = sensor.open(root)
        try:
            samples, calls = _run(call, readings, info.total, seconds)
        finally:
            readings.close()
        if len(samples) < 10 or calls == 0:
            return EnergyResult(None, f"{name} gave only {len(samples)} readings in {seconds:g} s")
        return EnergyResult(_energy(samples, calls, info.filter_s, name), None)
    return EnergyResult(None, no_sensor_reason(sensor_statuses(root)))


def integrate_mj(samples: Sequence[PowerSample], filter_s: float) -> float:
    """The energy of a window in mJ: trapezoid, and the filter's correction."""
    trapezoid = sum((after.power_mw + before.power_mw) / 2 * (after.time_s - before.time_s) for before, after in pairwise(samples))
    return trapezoid + filter_s * (samples[-1].power_mw - samples[0].power_mw)


def no_sensor_reason(statuses: tuple[SensorStatus, ...]) -> str:
    """One sentence of what is missing."""
    details = "; ".join(f"{status.name}: {status.reason}" for status in statuses if status.reason)
    return f"this machine has no usable power sensor ({details})" if details else "this machine has no power sensor"


def _run(call: Call, readings: Readings, total: tuple[str, ...], seconds: float) -> tuple[list[PowerSample], int]:
    """Call in this thread, read in another; returns the samples of the window and the calls completed in it."""
    samples: list[PowerSample] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(random.uniform(0, 2) * SAMPLE_PERIOD_S):
            before = time.monotonic()
            values = [readings.read_mw().get(key) for key in total]
            known = [value for value in values if value is not None]
            if len(known) == len(total):
                samples.append(PowerSample((before + time.monotonic()) / 2, sum(known)))

    sampler = threading.Thread(target=sample, name="power-sampler", daemon=True)
    calls = 0
    sampler.start()
    try:
        deadline = time.monotonic() + seconds
        started = time.monotonic()
        while time.monotonic() < deadline:
            call()
            calls += 1
        spent_s = time.monotonic() - started
    finally:
        done.set()
        sampler.join()
    if len(samples) >= 2:
        # The calls that fall between the first and the last sample.
        calls = max(1, round(calls * (samples[-1].time_s - samples[0].time_s) / spent_s))
    return samples, calls


def _energy(samples: list[PowerSample], calls: int, filter_s: float, source: str) -> Energy:
    window_s = samples[-1].time_s - samples[0].time_s
    per_call_mj = integrate_mj(samples, filter_s) / calls
    size = max(1, len(samples) // 10)
    blocks = [mean([sample.power_mw for sample in samples[i : i + size]]) for i in range(0, len(samples) - size + 1, size)]
    error_mj = _T95 * standard_deviation(blocks) / len(blocks) ** 0.5 * window_s / calls
    return Energy(
        mean=per_call_mj,
        ci95=(per_call_mj - error_mj, per_call_mj + error_mj),
        source=source,
        power_mw=per_call_mj * calls / window_s,
    )
