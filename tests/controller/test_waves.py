from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from edgewright.controller.rollout_plan import MAX_WAVES, RolloutPlan, check_plan
from edgewright.controller.waves import Member, allowance, place_of, wave_of_joiner, waves_of
from edgewright.core.errors import Rejected


def fleet(count: int, classes: int = 1) -> list[Member]:
    return [Member(f"board-{number}", f"class-{number % classes}") for number in range(count)]


def sizes(waves) -> list[int]:
    return [len(wave.devices) for wave in waves]


def test_every_device_is_in_exactly_one_wave():
    waves = waves_of("r-1", fleet(1000, 3), RolloutPlan())

    assert sorted(name for wave in waves for name in wave.devices) == sorted(member.device for member in fleet(1000))
    assert 0 not in sizes(waves)


def test_shares_are_cumulative_and_the_last_wave_takes_what_is_left():
    plan = RolloutPlan(canary=0, shares=(0.01, 0.1, 0.5))

    assert sizes(waves_of("r-1", fleet(1000), plan)) == [10, 90, 400, 500]


def test_ten_shares_are_ten_waves():
    plan = RolloutPlan(canary=0, shares=tuple(number / 10 for number in range(1, 11)))

    assert sizes(waves_of("r-1", fleet(10_000), plan)) == [1000] * 10


def test_waves_grow_by_their_factor():
    assert sizes(waves_of("r-1", fleet(100), RolloutPlan(canary=2, growth=3.0))) == [2, 6, 18, 54, 20]


def test_canaries_are_taken_from_each_hardware_class():
    members = fleet(90, 3)
    waves = waves_of("r-1", members, RolloutPlan(canary=4))
    class_of = {member.device: member.hardware_class for member in members}

    assert Counter(class_of[name] for name in waves[0].devices) == {"class-0": 4, "class-1": 4, "class-2": 4}


def test_a_class_with_fewer_devices_than_canaries_sends_all_of_them():
    members = [*fleet(50), Member("rare", "rare-class")]

    assert "rare" in waves_of("r-1", members, RolloutPlan(canary=5))[0].devices


def test_the_order_is_a_hash_of_rollout_and_device():
    members = fleet(20)
    plan = RolloutPlan(canary=1, growth=1.0)
    expected = sorted((member.device for member in members), key=lambda name: hashlib.sha256(f"r-9/{name}".encode()).digest())

    assert [name for wave in waves_of("r-9", members, plan) for name in wave.devices] == expected
    assert waves_of("r-9", list(reversed(members)), plan) == waves_of("r-9", members, plan)


def test_another_rollout_begins_with_other_devices():
    first = [waves_of(f"r-{number}", fleet(500), RolloutPlan(canary=1))[0].devices for number in range(20)]

    assert len(set(first)) > 15


def test_waves_that_do_not_grow_are_bounded_in_number():
    waves = waves_of("r-1", fleet(1000), RolloutPlan(canary=1, growth=1.0))

    assert len(waves) == MAX_WAVES + 1
    assert sum(sizes(waves)) == 1000


def test_who_was_there_finds_its_own_wave_as_a_joiner():
    plan = RolloutPlan(canary=3, growth=2.0)
    waves = waves_of("r-1", fleet(200), plan)
    bounds = [wave.last_hash for wave in waves]
    for number, wave in enumerate(waves[1:], 1):
        assert {wave_of_joiner("r-1", name, bounds) for name in wave.devices} == {number}


def test_joiners_are_spread_as_the_waves_are_and_never_canaries():
    waves = waves_of("r-1", fleet(1000), RolloutPlan(canary=0, shares=(0.1, 0.5, 1.0)))
    bounds = ["", *(wave.last_hash for wave in waves)]
    counts = Counter(wave_of_joiner("r-1", f"late-{number}", bounds) for number in range(2000))

    assert counts[0] == 0
    assert counts[1] / 2000 == pytest.approx(0.1, abs=0.05)
    assert counts[3] / 2000 == pytest.approx(0.5, abs=0.08)


def test_places_fill_the_whole_range_evenly():
    first_digits = Counter(place_of("r-1", f"board-{number}")[0] for number in range(16_000))

    assert len(first_digits) == 16
    assert all(800 < count < 1200 for count in first_digits.values())


@pytest.mark.parametrize(
    ("wave", "open_for_s", "expected"), [(0, 0.0, 1), (0, 60.0, 11), (1, 60.0, 31), (2, 60.0, 91), (200, 1e9, 16_666_666_666_666_666_667)]
)
def test_the_rate_grows_with_each_wave(wave, open_for_s, expected):
    plan = RolloutPlan(rate_per_min=10.0, growth=3.0)

    assert allowance(plan, wave, open_for_s) == pytest.approx(expected)


def test_without_a_rate_everybody_goes_at_once():
    assert allowance(RolloutPlan(), 0, 0.0) is None


@pytest.mark.parametrize(
    "plan",
    [
        RolloutPlan(shares=(0.5, 0.1)),
        RolloutPlan(shares=(0.0, 1.0)),
        RolloutPlan(shares=(0.5, 0.5)),
        RolloutPlan(shares=(1.5,)),
        RolloutPlan(canary=0),
        RolloutPlan(canary=-1),
        RolloutPlan(growth=0.5),
        RolloutPlan(growth=float("nan")),
        RolloutPlan(shares=(float("nan"),)),
        RolloutPlan(device_timeout_s=0),
        RolloutPlan(device_timeout_s=float("inf")),
        RolloutPlan(max_failed_share=2.0),
        RolloutPlan(approval="never"),
        RolloutPlan(confidence=1.0),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan):
    with pytest.raises(Rejected) as caught:
        check_plan(plan)

    assert caught.value.code == "rollout-plan-malformed"
