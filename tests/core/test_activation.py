from __future__ import annotations

import calendar
import datetime as dt

import pytest
from edgewright.core.activation import AT_ONCE, Activation, may_activate, parse_activation
from edgewright.core.errors import Rejected

TUESDAY = calendar.timegm((2026, 11, 24, 0, 0, 0))


def at(text: str) -> float:
    hours, minutes = text.split(":")
    return TUESDAY + int(hours) * 3600 + int(minutes) * 60


@pytest.mark.parametrize(
    ("window", "moment", "expected"),
    [
        ("02:00-05:00", "01:59", False),
        ("02:00-05:00", "02:00", True),
        ("02:00-05:00", "04:59", True),
        ("02:00-05:00", "05:00", False),
        ("22:00-04:00", "21:59", False),
        ("22:00-04:00", "23:30", True),
        ("22:00-04:00", "03:59", True),
        ("22:00-04:00", "04:00", False),
        ("20:00-24:00", "23:59", True),
        ("20:00-24:00", "00:00", False),
    ],
)
def test_a_window_is_open_from_its_first_minute_until_its_last(window, moment, expected):
    assert may_activate(parse_activation(window), at(moment), 0.0) is expected


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on():
    policy = Activation(kind="window", from_min=22 * 60, to_min=4 * 60, days=(1,))
    assert dt.datetime.fromtimestamp(TUESDAY, dt.timezone.utc).weekday() == 1

    assert may_activate(policy, at("23:00"), 0.0)
    assert may_activate(policy, at("27:00"), 0.0)  # Wednesday, three in the morning
    assert not may_activate(policy, at("03:00"), 0.0)
    assert not may_activate(policy, at("47:00"), 0.0)


def test_idle_is_open_after_its_time():
    policy = Activation(kind="idle", idle_s=60.0)

    assert not may_activate(policy, at("12:00"), 59.9)
    assert may_activate(policy, at("12:00"), 60.0)


def test_at_once_is_always_open():
    assert may_activate(AT_ONCE, at("12:00"), 0.0)
    assert parse_activation("at-once") == AT_ONCE


@pytest.mark.parametrize(
    "text", ["", "never", "2-5", "02:00", "02:00-02:00", "02:60-03:00", "25:00-26:00", "02:00-05:00-06:00", "-1:00-02:00", "٠2:00-03:00"]
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(Rejected) as caught:
        parse_activation(text)

    assert caught.value.code == "activation-malformed"
