"""Measures the energy per call of anything that can be called: idle, warm-up, window, idle. Without a sensor, None and the reason; never a guess.

The load runs on through both edges of the window, and the edges are moments at which a call has just returned: the count of calls is exact, and
neither edge lies where the power jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.measurement import Conditions, Energy
from .conditions import Workload, conditions_between, take_snapshot
from .energy import Window, block_means, window_energy
from .recording import Recording
from .sampler import PERIOD_S, Sampler
from .survey import Survey, open_rails, survey_power
from .totals import Total
from .uncertainty import MeanPower, RailShare, block_count, mean_power
from .validity import CORRECTED_FILTERS, SamplingRecord, condition_flags, idle_flags, sampling_flags

Call = Callable[[], object]
Cancel = Callable[[], bool]
# Loads the machine for about so many seconds; returns when it began and ended (monotonic) and how many calls were whole in between.
Work = Callable[[float], "Window"]
UNFILTERED_PERIOD_S = 0.025
WARMUP_FILTERS = 5.0
MIN_IDLE_S = 2.0
_TAIL_PERIODS = 4


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """What was measured with its conditions, or why it was not."""

    energy: Energy | None
    reason: str | None
    recording: Recording | None = None
    windows: tuple[tuple[str, Window], ...] = ()
    conditions: Conditions | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each part of a run is."""

    idle_s: float
    warmup_s: float
    window_s: float
    tail_s: float
    period_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """The moments of one run."""

    idle_before: Window
    window: Window
    idle_after: Window


def measure_energy(
    call: Call, *, seconds: float, root: Path = Path("/"), idle_s: float | None = None, cancel: Cancel | None = None, workload: Workload | None = None
) -> EnergyResult:
    """Run `call` for `seconds` (at least ten filter constants), one after the other; see `measure_work`."""
    return measure_work(
        one_after_the_other(call, time.monotonic, cancel or (lambda: False)), seconds=seconds, root=root, idle_s=idle_s, workload=workload
    )


def one_after_the_other(call: Call, clock_s: Callable[[], float], cancel: Cancel) -> Work:
    """The load of a single stream: at least one call."""

    def work(seconds: float) -> Window:
        start_s = clock_s()
        return Window(start_s, *_call_until(call, start_s + seconds, clock_s, cancel))

    return work


def measure_work(
    work: Work, *, seconds: float, root: Path = Path("/"), idle_s: float | None = None, workload: Workload | None = None
) -> EnergyResult:
    """Load the machine while the power of the widest thing that is measured here is read.

    Returns:
        Gross and net energy in mJ per call with 95 % intervals, or the reason why this machine cannot say.
    """
    survey = survey_power(root)
    total = survey.totals.widest_known
    if total is None:
        return EnergyResult(None, survey.totals.reason)
    filter_s = total_filter_s(survey, total)
    plan = plan_of(seconds, filter_s, idle_s)
    with open_rails(survey, survey.rails_of(total)) as reader:
        sampler = Sampler(reader, period_s=plan.period_s)
        before = take_snapshot(root)
        with sampler:
            run = run_load(work, plan, time.monotonic)
            time.sleep(2 * plan.period_s)
        after = take_snapshot(root)
    sensor = "+".join(dict.fromkeys(rail.sensor for rail in survey.rails_of(total)))
    conditions = msgspec.structs.replace(conditions_between(before, after, workload or Workload()), sensor=sensor, filter_s=filter_s)
    flags = tuple(condition_flags(before, after, conditions))
    energy = energy_of(survey, total, sampler.recording, run, plan.period_s, flags)
    windows = (("idle before", run.idle_before), ("inference", run.window), ("idle after", run.idle_after))
    reason = None if energy is not None else f"{sensor} gave too few readings to cover the window"
    return EnergyResult(energy, reason, sampler.recording, windows, conditions)


def total_filter_s(survey: Survey, total: Total) -> float | None:
    """The filter constant of a sum: the longest of its rails; None when one is unknown."""
    filters = [survey.filter_s(key) for key in total.rails]
    known = [value for value in filters if value is not None]
    return max(known) if len(known) == len(filters) else None


def plan_of(seconds: float, filter_s: float | None, idle_s: float | None = None) -> Plan:
    """A sensor that does not average is read faster: jitter makes it right, numbers make it sharp."""
    known_s = filter_s or 0.0
    period_s = UNFILTERED_PERIOD_S if filter_s == 0 else PERIOD_S
    window_s = max(seconds, CORRECTED_FILTERS * known_s, 20 * period_s)
    return Plan(
        idle_s=max(MIN_IDLE_S, WARMUP_FILTERS * known_s) if idle_s is None else idle_s,
        warmup_s=max(WARMUP_FILTERS * known_s, 10 * period_s),
        window_s=window_s,
        tail_s=_TAIL_PERIODS * period_s,
        period_s=period_s,
    )


def run_load(work: Work, plan: Plan, clock_s: Callable[[], float], sleep: Callable[[float], None] = time.sleep) -> Run:
    """Be idle, work, be idle."""
    idle_start_s = clock_s() + 2 * plan.period_s
    sleep(plan.idle_s + 2 * plan.period_s)
    idle_end_s = clock_s()
    work(plan.warmup_s)
    window = work(plan.window_s)
    after_s = work(plan.tail_s).end_s
    sleep(plan.idle_s + 2 * plan.period_s)
    return Run(Window(idle_start_s, idle_end_s), window, Window(after_s, after_s + plan.idle_s))


def _call_until(call: Call, until_s: float, clock_s: Callable[[], float], cancel: Cancel) -> tuple[float, int]:
    """When the last call returned, and how many there were."""
    count, now_s = 0, clock_s()
    while count == 0 or (now_s < until_s and not cancel()):
        call()
        count += 1
        now_s = clock_s()
    return now_s, count


def energy_of(survey: Survey, total: Total, recording: Recording, run: Run, period_s: float, flags: tuple[str, ...] = ()) -> Energy | None:
    """The energy per call of a run that was recorded; None when the readings do not cover the window."""
    filter_s = total_filter_s(survey, total)
    window, calls = run.window, run.window.inferences
    series = recording.series(total.rails)
    found = window_energy(series, window, filter_s or 0.0)
    power = window_power(survey, total, recording, window, period_s)
    if found is None or power is None or calls == 0:
        return None
    idle_before, idle_after = (window_energy(series, idle, filter_s or 0.0) for idle in (run.idle_before, run.idle_after))
    before_mw, after_mw = (None if part is None else part.mean_mw for part in (idle_before, idle_after))
    per_call = window.seconds / calls
    record = SamplingRecord(window.seconds, filter_s, period_s, found.samples, found.largest_gap_s, power.is_sensor_known)
    idle_error_mw = max(power.spread_mw, 0.5 * max((rail.traits.resolution_mw or 0.0 for rail in survey.rails_of(total)), default=0.0))
    net = _net(power, before_mw, after_mw, per_call)
    mean_mj = power.mean_mw * per_call
    return Energy(
        mean=mean_mj,
        ci95=(power.ci95_mw[0] * per_call, power.ci95_mw[1] * per_call),
        source="+".join(dict.fromkeys(rail.sensor for rail in survey.rails_of(total))),
        power_mw=power.mean_mw,
        scope=total.scope,
        net=None if net is None else net[0],
        net_ci95=None if net is None else (net[1], net[2]),
        idle_before_mw=before_mw,
        idle_after_mw=after_mw,
        peak_mw=found.peak_mw,
        spread=power.spread_mw * per_call,
        sensor_error=power.sensor_mw * per_call,
        seconds=window.seconds,
        inferences=calls,
        edp_mj_ms=mean_mj * per_call * 1000,
        inferences_per_j=1000 / mean_mj if mean_mj > 0 else None,
        flags=(
            *sampling_flags(record),
            *idle_flags(before_mw, after_mw, idle_error_mw),
            *flags,
        ),
    )


def window_power(survey: Survey, total: Total, recording: Recording, window: Window, period_s: float) -> MeanPower | None:
    """The mean power of a window with its interval: every rail with its own error, the load's spread from the sum."""
    filter_s = total_filter_s(survey, total) or 0.0
    series = recording.series(total.rails)
    found = window_energy(series, window, filter_s)
    if found is None:
        return None
    shares = []
    for rail in survey.rails_of(total):
        part = window_energy(recording.series((rail.key,)), window, filter_s)
        if part is not None:
            shares.append(RailShare(rail.traits, part.mean_mw, part.distinct))
    blocks = block_means(series, window, filter_s, block_count(window.seconds, filter_s, period_s))
    return mean_power(found.mean_mw, blocks, shares, found.correction_mj / window.seconds)


def _net(power: MeanPower, before_mw: float | None, after_mw: float | None, per_call_s: float) -> tuple[float, float, float] | None:
    """Gross less idle. The sensor's offset is in both and goes away; what is left of its error is the gain's share of the difference."""
    if before_mw is None or after_mw is None or power.mean_mw <= 0:
        return None
    net_mw = power.mean_mw - (before_mw + after_mw) / 2
    gain_mw = power.sensor_mw * abs(net_mw) / power.mean_mw
    half_mw = 1.96 * (power.spread_mw**2 + gain_mw**2 + ((before_mw - after_mw) / 2) ** 2) ** 0.5
    return net_mw * per_call_s, (net_mw - half_mw) * per_call_s, (net_mw + half_mw) * per_call_s
