"""The energy of a window, against arithmetic by hand and against a simulated sensor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgewright.profiling.energy import Window, block_means, trapezoid, value_at, window_energy
from edgewright.profiling.recording import Series
from hypothesis import given
from hypothesis import strategies as st

FILTER_S = 0.43


def filtered_step(low, high, at_s, times):
    """What a first-order filter shows of a step at `at_s`: solved by hand."""
    return [low if t < at_s else high - (high - low) * math.exp(-(t - at_s) / FILTER_S) for t in times]


def test_a_cold_step_has_its_whole_energy_after_the_correction():
    times = [i * 0.001 for i in range(4001)]
    series = Series(times, filtered_step(5000, 12000, 1.0, times))

    found = window_energy(series, Window(1.0, 2.0), FILTER_S)

    # 12 W for 1 s is 12000 mJ; without the correction 7 W * 0.43 s * (1 - e^(-1/0.43)) are missing.
    assert found.energy_mj == pytest.approx(12000, rel=1e-5)
    assert found.correction_mj == pytest.approx(7000 * 0.43 * (1 - math.exp(-1 / 0.43)), rel=1e-5)


def test_the_edges_lie_between_readings():
    series = Series([0.0, 1.0, 2.0], [0.0, 1000.0, 2000.0])

    found = window_energy(series, Window(0.5, 1.5), 0.0)

    assert found.energy_mj == pytest.approx(1000)
    assert (found.samples, found.largest_gap_s) == (1, 1.0)
    assert value_at(series, 0.25) == 250


def test_a_window_that_the_readings_do_not_reach_over_has_no_energy():
    series = Series([1.0, 2.0], [1.0, 1.0])

    assert window_energy(series, Window(0.5, 1.5), 0.0) is None
    assert window_energy(series, Window(1.5, 2.5), 0.0) is None
    assert window_energy(Series([], []), Window(0, 1), 0.0) is None
    assert window_energy(series, Window(1.5, 1.5), 0.0) is None


def test_a_counter_s_difference_is_the_energy_whatever_the_filter():
    series = Series([0.0, 1.0, 2.0, 3.0], [100.0, 1100.0, 2100.0, 5100.0], "energy")

    found = window_energy(series, Window(0.5, 2.5), 99.0)

    assert found.energy_mj == pytest.approx(3600 - 600)
    assert found.peak_mw == 3000


@given(st.lists(st.floats(0, 1e5), min_size=3, max_size=40), st.floats(0.01, 2))
def test_the_parts_of_a_window_add_up_to_the_whole(powers, filter_s):
    times = [0.1 * i for i in range(len(powers))]
    series, window = Series(times, powers), Window(0.0, times[-1])

    whole = window_energy(series, window, filter_s)
    parts = block_means(series, window, filter_s, 7)

    assert sum(parts) / 7 == pytest.approx(whole.mean_mw, rel=1e-6, abs=1e-6)


def test_the_trapezoid_is_that_of_numpy():
    times, values = np.sort(np.random.default_rng(1).uniform(0, 9, 50)), np.random.default_rng(2).uniform(0, 9, 50)

    assert trapezoid(list(times), list(values)) == pytest.approx(float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(times))))


@pytest.mark.parametrize(("seconds", "bound"), [(1.0, 1.0), (5.0, 0.3)])
def test_through_a_simulated_ina3221_the_bias_is_small_where_plain_integrators_miss_much(scenes, seconds, bound):
    chance = np.random.default_rng(7)
    errors, naive = [], []
    for index in range(40):
        case = (scenes.ORIN_NANO, scenes.AGX_RAIL)[index % 2]
        start = scenes.IDLE_S + chance.uniform(0, 0.4)
        scene = scenes.record(
            scenes.random_load(case, start, start + seconds, chance), case, start, start + seconds, scenes.sim.Chip(case.shunt_ohm), chance
        )
        found = window_energy(scene.recording.series(("sim",)), Window(scene.start_s, scene.end_s), 0.4296)
        errors.append(100 * (found.energy_mj / scene.truth_mj - 1))
        naive.append(100 * (scenes.right_rectangle(scene) / scene.truth_mj - 1))

    assert abs(np.mean(errors)) <= bound
    assert np.mean(naive) < -3
