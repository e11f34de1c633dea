"""Statistics, against arithmetic done by hand, by exact binomials or by numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgewright.core.statistics import (
    fraction_interval,
    mean,
    median,
    min_samples,
    percentile,
    percentile_interval,
    percentile_or_none,
    standard_deviation,
)
from hypothesis import given
from hypothesis import strategies as st

HUNDRED = [float(i) for i in range(1, 101)]


@pytest.mark.parametrize("percent", [1, 7, 28, 29, 50, 55, 56, 57, 58, 90, 99, 100])
def test_of_one_to_a_hundred_each_percentile_is_its_own_number(percent: int) -> None:
    assert percentile(HUNDRED, percent) == float(percent)


def test_the_999th_permille_of_a_thousand_is_the_999th() -> None:
    assert percentile([float(i) for i in range(1, 1001)], 99.9) == 999.0


def test_a_percentile_between_ranks_is_the_upper_value_never_an_average() -> None:
    assert percentile([1.0, 2.0, 10.0], 50) == 2.0
    assert percentile([1.0, 2.0, 10.0], 67) == 10.0


def test_the_zeroth_percentile_is_the_minimum() -> None:
    assert percentile([3.0, 4.0], 0) == 3.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_is_numpy_s_inverted_cdf(values: list[float], percent: int) -> None:
    expected = float(np.percentile(np.asarray(values), percent, method="inverted_cdf"))

    # numpy's own rank suffers from binary fractions where percent times count is whole; there both neighbours are checked by hand above.
    if (percent * len(values)) % 100:
        assert percentile(sorted(values), percent) == expected


@pytest.mark.parametrize(("percent", "least"), [(50.0, 10), (90.0, 10), (95.0, 20), (99.0, 100), (99.9, 1000)])
def test_a_percentile_is_refused_below_its_minimum(percent: float, least: int) -> None:
    assert min_samples(percent) == least
    assert percentile_or_none([1.0] * (least - 1), percent) is None
    assert percentile_or_none([1.0] * least, percent) == 1.0


@pytest.mark.parametrize("function", [mean, median, lambda values: percentile(values, 50)])
def test_nothing_has_no_middle(function) -> None:
    with pytest.raises(ValueError, match="no samples"):
        function([])


@pytest.mark.parametrize(("count", "percent"), [(21, 50), (75, 50), (234, 50), (1000, 50), (1000, 90), (1000, 99), (37, 50)])
def test_an_interval_of_ranks_covers_95_percent_by_the_exact_binomial(count: int, percent: float) -> None:
    interval = percentile_interval([float(i) for i in range(1, count + 1)], percent)

    assert interval is not None
    low, high = int(interval[0]), int(interval[1])
    share = percent / 100
    # P(X_(low) <= quantile < X_(high)) = P(low <= B <= high - 1), B binomial
    covered = sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(low, high))
    assert 0.95 <= covered < 0.99


def test_an_interval_that_would_leave_the_sample_is_none() -> None:
    assert percentile_interval(HUNDRED, 99) is None
    assert percentile_interval(HUNDRED[:5], 50) is None


def test_the_mean_does_not_lose_small_numbers_among_large_ones() -> None:
    assert mean([1e16, 1.0, -1e16]) == 1 / 3


def test_the_median_of_an_even_count_is_the_middle_of_two() -> None:
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5
    assert median([3.0, 1.0, 2.0]) == 2.0


def test_the_deviation_divides_by_one_less_than_the_count() -> None:
    assert standard_deviation([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx(math.sqrt(32 / 7))
    assert standard_deviation([5.0]) == 0.0


def test_the_interval_of_a_fraction_is_wilson_s() -> None:
    # Both ends solve |share - p| = z * sqrt(p (1 - p) / n).
    for hits, count in [(0, 10), (10, 10), (8, 10), (437, 500), (1, 2)]:
        low, high = fraction_interval(hits, count)
        for end in (low, high):
            if 0 < end < 1:
                assert abs(hits / count - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count), rel=1e-5, abs=1e-7)
        assert 0 <= low <= hits / count <= high <= 1
        assert high - low > 0


def test_no_trials_say_nothing() -> None:
    assert fraction_interval(0, 0) == (0.0, 1.0)
