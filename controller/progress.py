"""How far one deployment is on one device, from everything that was said about it. Pure.

Rules: the event with the highest sequence counts, whatever order they came in; an attempt never leaves a terminal state, so that one which a
later report closed stays closed when older events arrive after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..core.errors import Reason
from ..core.wire.messages import TERMINAL_STATES, Event, Measurement, ModelReport, State


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment stands; `updated_s` is the device's own time."""

    state: State
    attempt: int
    updated_s: float
    reason: Reason | None = None
    measurement: Measurement | None = None


def closing(report: ModelReport, time_s: float) -> Progress | None:
    """What a report says about the end of its deployment; None while it is open."""
    if report.state is None or report.state not in TERMINAL_STATES:
        return None
    return Progress(state=report.state, attempt=report.attempt, updated_s=time_s, reason=report.reason, measurement=report.measurement)


def superseded(attempt: int, time_s: float) -> Progress:
    """The end of a deployment that is no longer its device's goal, and of which the device no longer speaks."""
    reason = Reason("superseded", "another goal took its place", "", "rejected")
    return Progress(state="SUPERSEDED", attempt=attempt, updated_s=time_s, reason=reason)


def later(one: Progress | None, other: Progress) -> Progress:
    """Which of two endings counts: that of the later attempt; of one attempt, what was said first."""
    if one is None or (other.attempt, -other.updated_s) > (one.attempt, -one.updated_s):
        return other
    return one


def progress_of(events: Sequence[Event], ending: Progress | None) -> Progress | None:
    """The sum of `events`, in any order, and of the ending that reports told; None when there is neither."""
    if not events:
        return ending
    last = max(events, key=lambda event: event.sequence)
    measured = [event for event in events if event.attempt == last.attempt and event.measurement is not None]
    measurement = max(measured, key=lambda event: event.sequence).measurement if measured else None
    if ending is not None and ending.attempt >= last.attempt and last.state not in TERMINAL_STATES:
        return msgspec.structs.replace(ending, measurement=ending.measurement or measurement)
    return Progress(state=last.state, attempt=last.attempt, updated_s=last.time_s, reason=last.reason, measurement=measurement)


def advanced(known: Progress | None, event: Event, ending: Progress | None) -> Progress:
    """The sum `known` and one `event` that is later than all in it: the same as `progress_of` all of them."""
    measurement = event.measurement
    if measurement is None and known is not None and known.attempt == event.attempt:
        measurement = known.measurement
    progress = progress_of([msgspec.structs.replace(event, measurement=measurement)], ending)
    assert progress is not None
    return progress
