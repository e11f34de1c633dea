"""The validity gates of a measurement: what makes a number less than it seems. Pure. A gate flags; it never drops or changes a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.measurement import Conditions
from .conditions import Snapshot

CORRECTED_FILTERS = 10.0
UNCORRECTED_S = 26.0
MAX_GAP_PERIODS = 3.0
MIN_COVERAGE = 0.95
MAX_OTHER_CPU_PERCENT = 5.0
MAX_CLOCK_CHANGE = 0.01


@dataclass(frozen=True, slots=True)
class SamplingRecord:
    """How well the window was sampled. `filter_s` None = the filter is not known and nothing was corrected."""

    seconds: float
    filter_s: float | None
    period_s: float
    samples: int
    largest_gap_s: float
    is_sensor_error_known: bool = True


def sampling_flags(record: SamplingRecord) -> Iterator[str]:
    """What the samples themselves say."""
    if record.filter_s is None:
        yield "filter-unknown"
        if record.seconds < UNCORRECTED_S:
            yield "window-short"
    elif record.seconds < CORRECTED_FILTERS * record.filter_s:
        yield "window-short"
    if record.largest_gap_s > MAX_GAP_PERIODS * record.period_s:
        yield "sample-gap"
    if record.samples * record.period_s < MIN_COVERAGE * record.seconds - 2 * record.period_s:
        yield "coverage-low"
    if not record.is_sensor_error_known:
        yield "sensor-error-unknown"


def condition_flags(before: Snapshot, after: Snapshot, conditions: Conditions) -> Iterator[str]:
    """What happened to the machine between two looks."""
    if before.boot_id != after.boot_id:
        yield "rebooted"
    if before.power_mode != after.power_mode:
        yield "mode-changed"
    if any(count > 0 for count in conditions.over_current_events.values()):
        yield "over-current"
    if conditions.throttled:
        yield "throttled"
    if conditions.trips_passed:
        yield "trip-passed"
    if any(_differs(mhz, after.clocks_mhz.get(name)) for name, mhz in before.clocks_mhz.items()):
        yield "clocks-changed"
    if conditions.other_cpu_percent is not None and conditions.other_cpu_percent > MAX_OTHER_CPU_PERCENT:
        yield "other-load"
    if conditions.swapped_pages:
        yield "swapping"


def idle_flags(before_mw: float | None, after_mw: float | None, error_mw: float) -> Iterator[str]:
    """Idle before and after must agree within twice their own spread, or one percent."""
    if before_mw is None or after_mw is None:
        yield "idle-unknown"
    elif abs(after_mw - before_mw) > max(2 * error_mw, 0.01 * abs(before_mw)):
        yield "idle-disagrees"


def _differs(before_mhz: float, after_mhz: float | None) -> bool:
    return after_mhz is None or abs(after_mhz - before_mhz) > MAX_CLOCK_CHANGE * before_mhz
