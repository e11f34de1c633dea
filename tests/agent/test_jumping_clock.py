"""Clocks that lie: deadlines, probation and patience are of the monotonic clock, and what has expired stays so, whatever the board believes the
date to be.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from edgewright.agent.clock import RELEASED_S, best_time_s
from edgewright.agent.journal import JournalFile
from hypothesis import given
from hypothesis import strategies as st

YEAR_S = 365.25 * 86400.0


class JumpingClock:
    """The wall clock says what it likes; `monotonic_now_s` goes on as it should."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.wall_s = 0.0
        self.jumps = random.Random(5)

    def clock_s(self) -> float:
        self.wall_s += self.jumps.choice((0.0, 0.001, -0.5, 3600.0, -3600.0, 30 * YEAR_S, -30 * YEAR_S))
        self.wall_s = min(max(self.wall_s, 0.0), 200 * YEAR_S)
        return self.wall_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


@pytest.fixture
def jumping(device: Any) -> Any:
    """A device that boots in 1970 and whose date jumps at every look."""
    wall = JumpingClock(device.clock)
    device.clock.clock_s = wall.clock_s
    device.start()
    return device


def test_a_deployment_on_a_board_that_boots_in_1970_and_jumps_by_years_succeeds(jumping: Any) -> None:
    jumping.want(jumping.order("d1", size=200_000, probation_s=5.0))
    began_s = jumping.clock.monotonic_now_s
    jumping.settle()

    assert jumping.state_of() == "SUCCEEDED"
    assert 5.0 <= jumping.clock.monotonic_now_s - began_s < 30.0, "probation lasted its time, no jump counted"


def test_a_deadline_passes_in_its_own_time(jumping: Any) -> None:
    jumping.answers = False  # nobody serves chunks
    jumping.want(jumping.order("d1", size=200_000, deadline_s=100.0))
    jumping.settle(until_s=95.0)
    assert jumping.state_of() == "DOWNLOADING"
    jumping.settle(until_s=30.0)

    assert (jumping.state_of(), jumping.reason_of()) == ("TIMED_OUT", "deadline")


def test_time_that_was_spent_counts_over_restarts(jumping: Any) -> None:
    jumping.answers = False
    jumping.want(jumping.order("d1", size=200_000, deadline_s=100.0))
    for _ in range(3):
        jumping.settle(until_s=28.0)
        jumping.crashed()
        jumping.start()

    assert jumping.deployer.deployment("surface").elapsed_s >= 30.0, "each start costs some of it"
    jumping.settle(until_s=80.0)
    assert jumping.state_of() == "TIMED_OUT"


def test_an_agent_that_never_lives_long_comes_to_the_deadline_all_the_same(jumping: Any) -> None:
    """Nothing is saved in one second: without the charge this would go on for ever."""
    jumping.answers = False
    jumping.want(jumping.order("d1", size=200_000, deadline_s=100.0))
    lives = 0
    while jumping.state_of() != "TIMED_OUT":
        jumping.clock.pass_s(1.0)
        jumping.crashed()
        jumping.start()
        jumping.settle(until_s=0.5)
        lives += 1
        assert lives <= 11

    assert jumping.reason_of() == "deadline"


def test_events_keep_their_order_when_the_date_does_not(jumping: Any) -> None:
    jumping.want(jumping.order("d1", size=200_000))
    jumping.settle()
    events = sorted(jumping.delivered.values(), key=lambda event: event.sequence)

    assert [event.state for event in events][-2:] == ["PROBATION", "SUCCEEDED"]
    assert [event.time_s for event in events] != sorted(event.time_s for event in events), "the times do jump"


def test_the_last_signed_time_outlives_a_boot_into_1970(jumping: Any) -> None:
    jumping.clock.wall_s = 0.0
    desired_s = 2_000_000_000.0
    jumping.deployer.ledger.commit(signed_s=desired_s)
    jumping.crashed()
    jumping.start()

    assert best_time_s(0.0, JournalFile(jumping.state).load().signed_s) == desired_s


@given(st.floats(0, 300 * YEAR_S), st.floats(0, 300 * YEAR_S))
def test_the_best_time_is_never_before_what_is_known(system_s: float, signed_s: float) -> None:
    best_s = best_time_s(system_s, signed_s)

    assert best_s >= max(signed_s, RELEASED_S)
    assert best_s in {system_s, signed_s, RELEASED_S}
