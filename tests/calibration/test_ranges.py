from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.observers import Extremes, Histogram
from edgewright.calibration.ranges import METHODS, minmax_range, percentile_range
from edgewright.cli import calibrate as command


def seen(values):
    extremes, histogram = Extremes(), Histogram()
    if len(values):
        extremes.add(np.float32(values))
    histogram.add(np.float32(values))
    return extremes, histogram


@pytest.mark.parametrize(("values", "interval"), [([1, 2], (0, 2)), ([-3, -1], (-3, 0)), ([-1, 5], (-1, 5)), ([0], (0, 0)), ([], (0, 0))])
@pytest.mark.parametrize("method", METHODS)
def test_every_range_includes_zero_and_no_more_than_was_seen(method, values, interval):
    low, high = METHODS[method](*seen(values))

    assert interval[0] <= low <= 0 <= high <= interval[1]
    assert (low, high) == pytest.approx(interval, rel=0.25)


def test_minmax_takes_everything():
    assert minmax_range(Extremes(-7, 9), None) == (-7, 9)


def test_percentile_leaves_out_one_in_a_hundred_thousand_on_each_side():
    random = np.random.default_rng(3)
    bulk = random.uniform(-1, 1, 400_000)
    outliers = np.concatenate([np.full(3, 1000.0), np.full(3, -500.0)])

    low, high = percentile_range(*seen(np.concatenate([bulk, outliers])))

    # 3 of 400,006 are fewer than 0.001 %, so one more of the bulk may go: its bin's outer edge is within 0.8 % of 1.
    assert 0.99 <= high <= 1.008
    assert -1.008 <= low <= -0.99


def test_percentile_keeps_what_is_more_than_its_share():
    bulk = np.random.default_rng(3).uniform(-1, 1, 100_000)

    low, high = percentile_range(*seen(np.concatenate([bulk, [900.0, 901.0], [-5.0, -5.0]])))

    assert high == pytest.approx(901, rel=0.008)
    assert low == pytest.approx(-5, rel=0.008)


def test_percentile_agrees_with_numpy_on_smooth_data():
    values = np.random.default_rng(5).normal(0, 1, 1_000_000).astype(np.float32)

    low, high = percentile_range(*seen(values))

    assert high == pytest.approx(np.percentile(values, 99.999), rel=0.016)
    assert low == pytest.approx(np.percentile(values, 0.001), rel=0.016)


def test_the_command_line_offers_exactly_the_methods_there_are():
    assert sorted(command.METHODS) == sorted(METHODS)
