"""The detector of a settled series: few false alarms, few false calms."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.profiling.steady import drift_of, mann_kendall


def series(drift_percent_per_min, seconds, chance, noise=0.005, rate=100):
    times = np.arange(0, seconds, 1 / rate)
    values = 10 * (1 + drift_percent_per_min / 100 * times / 60) * (1 + chance.normal(0, noise, len(times)))
    return list(times), list(values)


def test_a_drift_of_one_percent_a_minute_is_called_steady_in_less_than_one_of_twenty():
    chance = np.random.default_rng(1)

    calm = [
        drift_of(*series(1.0, seconds, chance, noise)).steady is True for seconds in (10, 30, 60) for noise in (0.002, 0.005, 0.02) for _ in range(60)
    ]

    assert np.mean(calm) < 0.05


def test_a_flat_series_is_seen_to_be_steady_within_ten_seconds():
    chance = np.random.default_rng(2)

    calm = [drift_of(*series(0.0, 10, chance, noise=0.001)).steady is True for _ in range(200)]

    assert np.mean(calm) > 0.85


def test_a_noisy_short_series_says_nothing():
    times, values = series(0.0, 2, np.random.default_rng(3), noise=0.05)

    assert drift_of(times, values).steady is not True
    assert drift_of(times[:15], values[:15]) is None


def test_the_slope_is_that_of_numpy_s_line():
    times, values = series(3.0, 20, np.random.default_rng(4))
    means = np.array(values).reshape(10, -1).mean(1)
    minutes = np.array(times).reshape(10, -1).mean(1) / 60

    assert drift_of(times, values).percent_per_min == pytest.approx(100 * np.polyfit(minutes, means, 1)[0] / means.mean())


def test_mann_and_kendall_s_statistic_is_that_of_the_definition():
    # Ten ascending values: S = 45, variance 10 * 9 * 25 / 18 = 125, z = 44 / sqrt(125)
    assert mann_kendall(range(10)) == pytest.approx(44 / 125**0.5)
    assert mann_kendall(range(10, 0, -1)) == pytest.approx(-44 / 125**0.5)
    assert mann_kendall([1] * 10) == 0
