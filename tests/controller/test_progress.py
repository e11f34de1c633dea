from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edgewright.controller.progress import Progress, closing, later, progress_of, superseded
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import TERMINAL_STATES, Event, Measurement, ModelReport, State
from hypothesis import given
from hypothesis import strategies as st

MEASURED = Measurement(chosen=None, baseline=None, verdict=None)
WHY = Reason("budget", "too slow", "", "rejected")

MakeEvent = Callable[..., Event]


def report(state: State | None, attempt: int = 1, **fields: Any) -> ModelReport:
    return ModelReport(active=None, previous=None, trial=None, deployment="d-1", state=state, attempt=attempt, **fields)


def ended(state: State, attempt: int = 1, time_s: float = 50.0) -> Progress:
    return Progress(state=state, attempt=attempt, updated_s=time_s)


def test_nothing_is_known_of_what_nobody_spoke_of() -> None:
    assert progress_of([], None) is None


def test_the_latest_event_says_where_a_deployment_is(event: MakeEvent) -> None:
    events = [event("OFFERED"), event("ACCEPTED"), event("DOWNLOADING", reason=WHY, time_s=77.0)]

    assert progress_of(events, None) == Progress(state="DOWNLOADING", attempt=1, updated_s=77.0, reason=WHY)


def test_a_measurement_stays_when_later_events_have_none(event: MakeEvent) -> None:
    events = [event("MEASURED", measurement=MEASURED), event("GATED"), event("STAGED")]
    progress = progress_of(events, None)

    assert progress is not None
    assert (progress.state, progress.measurement) == ("STAGED", MEASURED)


def test_a_measurement_of_an_earlier_attempt_is_not_that_of_the_next(event: MakeEvent) -> None:
    progress = progress_of([event("SUCCEEDED", measurement=MEASURED), event("ACCEPTED", attempt=2)], None)

    assert progress is not None
    assert (progress.state, progress.attempt, progress.measurement) == ("ACCEPTED", 2, None)


def test_an_ending_closes_an_attempt_whose_last_event_was_lost(event: MakeEvent) -> None:
    events = [event("MEASURED", measurement=MEASURED)]
    progress = progress_of(events, ended("SUCCEEDED"))

    assert progress is not None
    assert (progress.state, progress.measurement) == ("SUCCEEDED", MEASURED)


def test_an_ending_does_not_close_the_next_attempt(event: MakeEvent) -> None:
    progress = progress_of([event("ACCEPTED", attempt=2)], ended("SUCCEEDED", 1))

    assert progress is not None
    assert progress.state == "ACCEPTED"


def test_the_devices_own_last_word_counts_more_than_a_report(event: MakeEvent) -> None:
    progress = progress_of([event("REJECTED", reason=WHY)], superseded(1, 60.0))

    assert progress is not None
    assert (progress.state, progress.reason) == ("REJECTED", WHY)


@pytest.mark.parametrize("state", [None, "DOWNLOADING", "PROBATION", "ROLLING_BACK"])
def test_a_report_of_an_open_deployment_closes_nothing(state: State | None) -> None:
    assert closing(report(state), 1.0) is None


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
def test_a_report_of_an_end_closes_with_all_that_it_says(state: State) -> None:
    assert closing(report(state, 3, reason=WHY, measurement=MEASURED), 9.0) == Progress(
        state=state, attempt=3, updated_s=9.0, reason=WHY, measurement=MEASURED
    )


def test_of_two_endings_that_of_the_later_attempt_counts_and_of_one_attempt_the_first() -> None:
    first, again, next_attempt = ended("SUCCEEDED", 1, 10.0), ended("SUCCEEDED", 1, 20.0), ended("FAILED", 2, 15.0)

    assert later(None, again) is again
    assert later(first, again) is first
    assert later(again, first) is first
    assert later(first, next_attempt) is next_attempt
    assert later(next_attempt, first) is next_attempt


@given(data=st.data())
def test_the_order_in_which_events_come_does_not_matter(data: st.DataObject) -> None:
    states = data.draw(st.lists(st.sampled_from(["OFFERED", "DOWNLOADING", "MEASURED", "SUCCEEDED"]), min_size=1, max_size=8))
    events = [
        Event(
            fleet="fleet",
            device="board-1",
            id=f"e{number}",
            sequence=number,
            deployment="d-1",
            model="m",
            attempt=data.draw(st.integers(1, 2)),
            state=state,
            time_s=float(number),
            measurement=MEASURED if state == "MEASURED" else None,
        )
        for number, state in enumerate(states)
    ]
    ending = data.draw(st.sampled_from([None, ended("FAILED", 1), ended("SUCCEEDED", 2)]))

    assert progress_of(data.draw(st.permutations(events)), ending) == progress_of(events, ending)
