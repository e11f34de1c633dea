"""A metered link's rules: hours, budgets and clocks that jump."""

from __future__ import annotations

import calendar

import pytest
from edgewright.agent.metering import MAX_AHEAD_S, Metering, Usage, counted, why_not
from edgewright.core.activation import parse_activation

MB = 1_000_000
HOUR_S, DAY_S = 3600.0, 86400.0


def at(text: str) -> float:
    """UTC, as ``2027-03-01 12:00``."""
    day, clock = text.split(" ")
    return float(calendar.timegm((*map(int, day.split("-")), *map(int, clock.split(":")), 0)))


NOON = at("2027-03-15 12:00")
NIGHTS = Metering(windows=(parse_activation("22:00-06:00"),))


def code(policy: Metering, usage: Usage, now_s: float) -> str | None:
    reason = why_not(policy, usage, now_s)
    return None if reason is None else reason.code


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("21:59", "link-window"),
        ("22:00", None),
        ("23:59", None),
        ("00:00", None),
        ("05:59", None),
        ("06:00", "link-window"),
        ("12:00", "link-window"),
    ],
)
def test_models_are_fetched_in_their_hours(time, expected):
    assert code(NIGHTS, Usage(), at(f"2027-03-15 {time}")) == expected


@pytest.mark.parametrize(("offset_h", "expected"), [(0, "link-window"), (2, None), (9, None), (10, "link-window"), (-12, "link-window")])
def test_hours_may_be_those_of_the_place(offset_h, expected):
    policy = Metering(windows=NIGHTS.windows, offset_s=offset_h * HOUR_S)

    assert code(policy, Usage(), at("2027-03-15 20:30")) == expected


def test_a_budget_ends_with_its_last_byte_and_begins_again_the_next_day():
    policy = Metering(max_bytes_per_day=10 * MB)
    usage = counted(Usage(), 10 * MB - 1, NOON)
    assert code(policy, usage, NOON) is None
    usage = counted(usage, 1, NOON + 60)
    reason = why_not(policy, usage, NOON + 120)

    assert reason is not None
    assert (reason.code, "10.0 MB this day" in reason.message) == ("link-budget", True)
    assert code(policy, usage, at("2027-03-15 23:59")) == "link-budget"
    assert code(policy, usage, at("2027-03-16 00:00")) is None


def test_the_month_goes_on_when_the_day_ends():
    policy = Metering(max_bytes_per_month=30 * MB)
    usage = Usage()
    for day in range(28, 32):
        usage = counted(usage, 10 * MB, at(f"2027-03-{day} 12:00"))

    assert (usage.day_bytes, usage.month_bytes) == (10 * MB, 40 * MB)
    assert code(policy, usage, at("2027-03-31 23:59")) == "link-budget"
    assert code(policy, usage, at("2027-04-01 00:00")) is None


@pytest.mark.parametrize("earlier_s", [60.0, 3 * DAY_S, 40 * DAY_S])
def test_a_clock_that_goes_back_gives_nothing_back_and_neither_does_its_return(earlier_s):
    policy = Metering(max_bytes_per_day=10 * MB, max_bytes_per_month=10 * MB)
    usage = counted(Usage(), 10 * MB, NOON)
    usage = counted(usage, 5, NOON - earlier_s)

    assert code(policy, usage, NOON - earlier_s) == "link-budget"
    assert code(policy, counted(usage, 0, NOON + 60), NOON + 60) == "link-budget"


def test_a_clock_that_was_far_ahead_does_not_close_the_link_until_then():
    policy = Metering(max_bytes_per_day=10 * MB)
    usage = counted(Usage(), 10 * MB, NOON + MAX_AHEAD_S + DAY_S)
    usage = counted(usage, 0, NOON)
    assert (usage.now_s, usage.day_bytes) == (NOON, 10 * MB)

    assert code(policy, usage, NOON) == "link-budget"
    assert code(policy, usage, NOON + DAY_S) is None


def test_a_link_without_rules_carries_everything():
    assert not Metering().is_metered
    assert code(Metering(), Usage(now_s=NOON, day_bytes=1 << 50, month_bytes=1 << 50), NOON) is None
