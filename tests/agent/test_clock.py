"""The best idea of the time."""

from __future__ import annotations

from edgewright.agent.clock import RELEASED_S, best_time_s


def test_a_board_that_boots_in_1970_lives_at_least_when_this_program_was_released() -> None:
    assert best_time_s(3.0, 0.0) == RELEASED_S == 1_795_000_000.0


def test_the_latest_of_what_is_known_counts() -> None:
    assert best_time_s(RELEASED_S + 5, RELEASED_S + 9) == RELEASED_S + 9
    assert best_time_s(RELEASED_S + 9, RELEASED_S + 5) == RELEASED_S + 9
