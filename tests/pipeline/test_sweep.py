"""A sweep of power modes with simulated modes: order, way back, front, cheapest."""

from __future__ import annotations

import dataclasses
import random

import pytest
from edgewright.core.errors import Unfit
from edgewright.core.measurement import Conditions, Energy, Latency
from edgewright.core.profile import Profile, ProfileOrder
from edgewright.pipeline.sweep import Bench, SweepRow, cheapest_within, pareto, sweep
from edgewright.profiling.conditions import take_snapshot
from edgewright.profiling.power_modes import PowerMode

MODES = tuple(PowerMode(identity, name, ()) for identity, name in ((0, "15W"), (1, "25W"), (2, "MAXN"), (3, "7W")))
# p99 in ms and mJ: 25W is beaten by MAXN in both.
FIGURES = {0: (9.0, 30.0), 1: (8.0, 50.0), 2: (4.0, 45.0), 3: (20.0, 28.0)}


def profile(p99_ms, energy_mj):
    return Profile(
        order=ProfileOrder(),
        latency_ms=Latency(mean=p99_ms, p50=p99_ms, p90=p99_ms, p99=p99_ms, samples=1000),
        histogram=None,
        energy_mj=None if energy_mj is None else Energy(mean=energy_mj, ci95=(energy_mj, energy_mj), source="fake"),
        energy_reason=None,
        conditions=Conditions(),
    )


def row(mode, p99_ms, energy_mj):
    return SweepRow(mode=mode, name=str(mode), profile=profile(p99_ms, energy_mj))


@pytest.fixture
def bench(load_fake, tmp_path):
    mode_file = load_fake("mode_file")
    (tmp_path / "mode").write_text("2")
    measured = []

    def measure(mode):
        measured.append(mode.id)
        assert switch.current() == mode.id
        return profile(*FIGURES[mode.id])

    switch = mode_file.FakeSwitch(tmp_path / "mode")
    snapshot = dataclasses.replace(take_snapshot(tmp_path), temperatures_c={"cpu": 50.0})
    return Bench(MODES, switch, measure, lambda: snapshot), measured, tmp_path / "journal.json"


def test_every_mode_is_measured_in_random_order_the_first_one_twice_and_the_original_is_back(bench):
    work, measured, journal = bench

    found = sweep(work, journal, deadline_ms=10.0, chance=random.Random(4))

    assert sorted(measured[:-1]) == [0, 1, 2, 3]
    assert measured[-1] == measured[0]
    assert [entry.is_repeat for entry in found.rows] == [False] * 4 + [True]
    assert (found.original, work.switch.current(), journal.exists()) == (2, 2, False)
    assert found.pareto == (2, 0, 3)
    assert found.cheapest == 0
    assert found.drift_percent == 0.0


def test_other_chances_are_other_orders(bench):
    work, measured, journal = bench
    orders = set()
    for seed in range(6):
        measured.clear()
        sweep(work, journal, deadline_ms=None, chance=random.Random(seed))
        orders.add(tuple(measured))

    assert len(orders) > 2


def test_a_mode_that_is_refused_is_a_row_with_its_reason_and_the_rest_goes_on(bench):
    work, _, journal = bench
    work.switch.refused = (1,)

    found = sweep(work, journal, deadline_ms=None, chance=random.Random(0))

    assert {entry.mode for entry in found.rows if entry.reason is not None} == {1}
    assert found.pareto == (2, 0, 3)
    assert work.switch.current() == 2


def test_a_measurement_that_breaks_still_goes_back(bench):
    work, _, journal = bench

    def explode(_mode):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        sweep(dataclasses.replace(work, measure=explode), journal, deadline_ms=None)

    assert (work.switch.current(), journal.exists()) == (2, False)


def test_the_board_cools_down_between_modes_and_not_for_ever(bench, tmp_path):
    work, _, journal = bench
    heat, now, waits = [50.0], [0.0], []

    def look():
        return dataclasses.replace(take_snapshot(tmp_path), temperatures_c={"cpu": heat[0]})

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    def hot(mode):
        heat[0] = 80.0
        return profile(*FIGURES[mode.id])

    sweep(dataclasses.replace(work, look=look, sleep=sleep, measure=hot, clock_s=lambda: now[0]), journal, deadline_ms=None, chance=random.Random(1))

    assert 5 * 170 < now[0] <= 5 * 181


@pytest.mark.parametrize(
    ("change", "code"),
    [({"modes": ()}, "sweep-no-modes"), ({"is_on_battery": True}, "sweep-supply-weak")],
)
def test_what_is_not_fit_for_a_sweep_is_not_touched(bench, change, code):
    work, measured, journal = bench

    with pytest.raises(Unfit) as caught:
        sweep(dataclasses.replace(work, **change), journal, deadline_ms=None)

    assert caught.value.code == code
    assert (measured, work.switch.changes) == ([], [])


def test_a_supply_that_was_too_weak_since_boot_is_not_loaded_more(bench):
    work, measured, journal = bench
    weak = dataclasses.replace(work.look(), over_current={"oc1": 2, "oc2": 0})

    with pytest.raises(Unfit, match="too weak 2 times"):
        sweep(dataclasses.replace(work, look=lambda: weak), journal, deadline_ms=None)

    assert measured == []


def test_the_front_has_what_nothing_beats_and_needs_both_figures():
    assert pareto([row(0, 5, 10), row(1, 5, 9), row(2, 4, 9), row(3, 1, None), row(4, 9, 8)]) == (2, 4)
    assert pareto([]) == ()


def test_the_cheapest_mode_meets_the_deadline_or_there_is_none():
    rows = [row(0, 9, 30), row(2, 4, 45)]

    assert cheapest_within(rows, 9) == (0, None)
    assert cheapest_within(rows, 8.9) == (2, None)
    assert cheapest_within(rows, None) == (0, None)
    assert cheapest_within(rows, 3) == (None, "no mode meets 3 ms: the fastest needs 4 ms (p99)")
    assert cheapest_within([row(0, 9, None)], 9)[0] is None
