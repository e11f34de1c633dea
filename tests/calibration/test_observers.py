from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.observers import BINS, ChannelExtremes, Extremes, Histogram, edge_values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

FLOATS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def test_extremes_keep_the_smallest_and_the_largest():
    extremes = Extremes()

    assert extremes.add(np.float32([1, -2, 3]))
    assert extremes.add(np.float32([0, 2]))
    assert (extremes.low, extremes.high) == (-2, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_extremes_refuse_what_is_not_finite_and_stay(bad):
    extremes = Extremes()
    extremes.add(np.float32([1, 2]))

    assert not extremes.add(np.float32([5, bad, -5]))
    assert (extremes.low, extremes.high) == (1, 2)


@given(FLOATS, st.integers(1, 59), st.randoms())
def test_a_histogram_depends_neither_on_order_nor_on_batches(values, cut, shuffle):
    whole, parts = Histogram(), Histogram()
    whole.add(values)
    order = list(range(len(values)))
    shuffle.shuffle(order)
    for part in (values[order][:cut], values[order][cut:]):
        parts.add(part)

    assert np.array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == len(values)


@given(FLOATS)
def test_every_value_lies_in_its_bin(values):
    for value in values:
        histogram = Histogram()
        histogram.add(np.float32([value]))
        inner, outer, counts = histogram.ascending()

        assert counts.tolist() == [1]
        assert min(inner[0], outer[0]) <= value <= max(inner[0], outer[0])


def test_bins_are_narrow():
    codes = np.arange(0x0080, 0x7F7F)

    assert (edge_values(codes + 1) / edge_values(codes)).max() <= 1 + 2**-7


def test_bins_come_in_ascending_order():
    histogram = Histogram()
    histogram.add(np.float32([[3, -1], [0, -200]]))

    inner, _, counts = histogram.ascending()

    assert inner.tolist() == [-200, -1, 0, 3]
    assert counts.tolist() == [1, 1, 1, 1]


def test_a_number_without_axes_is_counted():
    histogram = Histogram()
    histogram.add(np.asarray(1.5, np.float32))

    assert histogram.counts.shape == (BINS,)
    assert histogram.counts.sum() == 1


def test_channel_statistics_are_those_of_the_maxima_of_each_sample():
    values = np.random.default_rng(0).normal(size=(5, 3, 4, 2)).astype(np.float32)
    extremes = ChannelExtremes()
    for part in (values[:1], values[1:]):
        extremes.add(part)

    found = extremes.statistics()

    maxima, minima = values.reshape(5, 3, 8).max(2), values.reshape(5, 3, 8).min(2)
    assert found.high.peak == pytest.approx(maxima.max(0))
    assert found.high.mean == pytest.approx(maxima.mean(0), rel=1e-5)
    assert found.high.deviation == pytest.approx(maxima.std(0), rel=1e-4)
    assert found.negative.peak == pytest.approx(-minima.min(0))
    assert found.power == pytest.approx((values.astype(np.float64) ** 2).mean((0, 2, 3)), rel=1e-5)


def test_channel_statistics_of_a_matrix_have_one_place_per_sample():
    extremes = ChannelExtremes()
    extremes.add(np.float32([[1, -10], [3, 30]]))

    assert extremes.statistics().high.mean.tolist() == [2, 10]
