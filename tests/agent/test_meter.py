from __future__ import annotations

import pytest
from edgewright.agent.config import LinkSection
from edgewright.agent.meter import FILE_NAME, SAVE_BYTES, Meter

NOON_S = 1_805_112_000.0  # a day's noon, UTC
MB = 1 << 20


class Wire:
    def __init__(self) -> None:
        self.carried, self.now_s = 0, NOON_S


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def make(tmp_path, wire):
    return lambda **fields: Meter(tmp_path, LinkSection(**fields), lambda: wire.carried, lambda: wire.now_s, lambda _now_s: 7200.0)


def code(meter, **fields):
    reason = meter.why_not(is_urgent=fields.get("urgent", False))
    return None if reason is None else reason.code


def test_the_count_survives_a_restart_and_a_new_process_counts_from_zero(make, wire):
    meter = make(max_bytes_per_day=10 * MB)
    wire.carried = 6 * MB
    assert code(meter) is None
    meter.turn()
    wire.carried = 0
    meter = make(max_bytes_per_day=10 * MB)
    wire.carried = 4 * MB

    assert code(meter) == "link-budget"
    assert meter.usage.day_bytes == 10 * MB


def test_a_crash_loses_a_bounded_count(make, wire):
    meter = make(max_bytes_per_day=100 * MB)
    for _ in range(9):
        wire.carried += MB
        meter.why_not(is_urgent=False)

    assert 9 * MB - make(max_bytes_per_day=100 * MB).usage.day_bytes < SAVE_BYTES + MB


def test_what_the_fleet_signed_as_urgent_passes_unless_the_owner_says_no(make):
    closed = {"windows": ("13:00-14:00",)}
    assert (code(make(**closed)), code(make(**closed), urgent=True)) == ("link-window", None)
    assert code(make(**closed, obey_urgent=False), urgent=True) == "link-window"


def test_local_hours_are_asked_for_by_name(make):
    assert code(make(windows=("13:00-15:00",), clock="local")) is None
    assert code(make(windows=("13:00-15:00",))) == "link-window"


def test_a_link_that_is_not_metered_writes_nothing(make, wire, tmp_path):
    meter = make()
    wire.carried = 1 << 40
    meter.turn()

    assert (code(meter), meter.due_s, (tmp_path / FILE_NAME).exists()) == (None, None, False)


def test_a_damaged_count_is_a_new_one(make, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"{")

    assert make(max_bytes_per_day=10 * MB).usage.day_bytes == 0
