"""Intervals must cover the truth as often as they say, over many sensors and loads."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.profiling.energy import Window, block_means, window_energy
from edgewright.profiling.sensor import SensorError, Traits
from edgewright.profiling.uncertainty import RailShare, block_count, mean_power, truncated_normal


def test_with_an_unknown_sensor_error_only_the_spread_is_told_and_that_is_said():
    found = mean_power(1000.0, [1000.0] * 10, [RailShare(Traits(), 1000.0, 5)], 0.0)

    assert found.ci95_mw == (1000.0, 1000.0)
    assert found.is_sensor_known is False


def test_a_steady_load_leaves_the_sensor_s_error():
    traits = Traits(error=SensorError(40.0, 80.0, 0.0, 0.0, 0.0))

    found = mean_power(5000.0, [5000.0] * 10, [RailShare(traits, 5000.0, 10)], 0.0)

    # A normal of 40 cut at 80: its middle 95 % reach to 1.96 * 40 * 0.88 or so, and never past 80.
    assert 60 < 5000 - found.ci95_mw[0] < 80
    assert found.sensor_mw == pytest.approx(0.88 * 40, rel=0.05)


def test_the_spread_of_few_blocks_is_widened_like_student_s_t():
    few = mean_power(0.0, [-1.0, 1.0, -1.0, 1.0], [], 0.0)

    # t(0.975, 3) = 3.18; standard error = sd / sqrt(n) = 1.1547 / 2; resampling four values knows only a lattice of means
    assert few.ci95_mw[1] == pytest.approx(3.18 * 1.1547 / 2, rel=0.2)


def test_offsets_of_several_rails_do_not_cancel_by_agreement():
    traits = Traits(error=SensorError(400.0, 800.0, 0.0, 0.0, 0.0))
    one = mean_power(5000.0, [5000.0] * 10, [RailShare(traits, 5000.0, 10)], 0.0)
    two = mean_power(5000.0, [5000.0] * 10, [RailShare(traits, 2500.0, 10)] * 2, 0.0)

    assert two.sensor_mw / one.sensor_mw == pytest.approx(2**0.5, rel=0.05)


def test_nothing_is_drawn_beyond_the_largest():
    values = truncated_normal(np.random.default_rng(0), 1.0, 2.0, 5000)

    assert np.abs(values).max() <= 2.0
    assert values.std() == pytest.approx(0.88, abs=0.02)


def test_the_interval_is_the_same_every_time():
    shares = [RailShare(Traits(error=SensorError(1, 2, 0.01, 0.02, 0.01)), 10, 3)]

    assert mean_power(10.0, [9.0, 10.0, 11.0, 10.0], shares, 0.5) == mean_power(10.0, [9.0, 10.0, 11.0, 10.0], shares, 0.5)


def test_intervals_cover_the_truth_over_random_chips_and_loads(scenes):
    chance, covered, runs = np.random.default_rng(12), 0, 160
    for index in range(runs):
        case = (scenes.ORIN_NANO, scenes.AGX_RAIL)[index % 2]
        run = scenes.repeated_inferences(case, scenes.IDLE_S + chance.uniform(0, 0.4), 4.4, chance)
        scene = scenes.record(run.wave, case, run.start_s, run.end_s, scenes.soldered_chip(case, chance), chance, with_edges=False)
        window, series, traits = Window(run.start_s, run.end_s), scene.recording.series(("sim",)), scene.recording.rails[0].traits
        energy = window_energy(series, window, traits.filter_s)
        blocks = block_means(series, window, traits.filter_s, block_count(window.seconds, traits.filter_s, 0.1))
        share = RailShare(traits, energy.mean_mw, energy.distinct)
        low, high = mean_power(energy.mean_mw, blocks, [share], energy.correction_mj / window.seconds, seed=index).ci95_mw
        covered += low <= run.mean_mw <= high

    # 160 draws of 95 %: between 91 and 99 % in all but one of a thousand.
    assert 0.90 <= covered / runs <= 0.995
