"""Histograms: 1.6 % at worst, and merging is addition."""

from __future__ import annotations

import math

import msgspec
import pytest
from edgewright.core.errors import Rejected
from edgewright.core.histogram import (
    MAX_BUCKET,
    MAX_VALUE_NS,
    Histogram,
    bucket_bounds,
    bucket_of,
    check_histogram,
    histogram_of,
    merge_histograms,
)
from hypothesis import given
from hypothesis import strategies as st

DURATIONS = st.integers(0, 2**60)


def test_buckets_follow_each_other_without_gap_or_overlap() -> None:
    last = -1
    for bucket in range(MAX_BUCKET + 1):
        low, high = bucket_bounds(bucket)
        assert low == last + 1
        assert bucket_of(low) == bucket_of(high) == bucket
        last = high

    assert last == MAX_VALUE_NS


@given(st.integers(0, MAX_VALUE_NS))
def test_the_middle_of_a_bucket_is_within_a_64th(value: int) -> None:
    low, high = bucket_bounds(bucket_of(value))

    assert low <= value <= high
    assert abs((low + high) // 2 - value) <= value / 64


def test_a_negative_duration_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="-1"):
        histogram_of([-1])


@given(st.lists(DURATIONS, max_size=60), st.lists(DURATIONS, max_size=60), st.lists(DURATIONS, max_size=60))
def test_merging_parts_in_any_order_is_the_histogram_of_all(a: list[int], b: list[int], c: list[int]) -> None:
    parts = [histogram_of(part) for part in (a, b, c)]
    expected = histogram_of(a + b + c)

    assert merge_histograms(parts) == expected
    assert merge_histograms([merge_histograms(reversed(parts[1:])), parts[0]]) == expected
    assert check_histogram(expected).count == len(a) + len(b) + len(c)


@given(st.lists(st.integers(0, 10**10), min_size=100, max_size=400), st.sampled_from([50.0, 90.0, 99.0]))
def test_a_percentile_is_within_a_64th_of_the_exact_one(values: list[int], percent: float) -> None:
    exact = sorted(values)[math.ceil(round(percent * len(values) / 100, 6)) - 1]

    found = histogram_of(values).percentile_ns(percent)

    assert found is not None
    assert abs(found - exact) <= exact / 64
    assert min(values) <= found <= max(values)


@pytest.mark.parametrize(("percent", "least"), [(50.0, 10), (99.0, 100)])
def test_a_percentile_is_refused_below_its_minimum(percent: float, least: int) -> None:
    assert histogram_of([7] * (least - 1)).percentile_ns(percent) is None
    assert histogram_of([7] * least).percentile_ns(percent) == 7


def test_the_empty_histogram_merges_into_nothing() -> None:
    full = histogram_of([5, 6])

    assert merge_histograms([Histogram(), full, Histogram()]) == full
    assert merge_histograms([]) == histogram_of([]) == Histogram()
    assert Histogram().percentile_ns(50.0) is None


def test_a_histogram_survives_the_way_through_json() -> None:
    histogram = histogram_of([0, 63, 64, 10**9, 2**60])

    assert check_histogram(msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram)) == histogram


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram(buckets=((2, 1), (1, 1)), min_ns=1, max_ns=2),
        Histogram(buckets=((1, 1), (1, 1)), min_ns=1, max_ns=1),
        Histogram(buckets=((1, 0),), min_ns=1, max_ns=1),
        Histogram(buckets=((1, -5),), min_ns=1, max_ns=1),
        Histogram(buckets=((1, 2**53),), min_ns=1, max_ns=1),
        Histogram(buckets=((-1, 1),)),
        Histogram(buckets=((MAX_BUCKET + 1, 1),), min_ns=MAX_VALUE_NS, max_ns=MAX_VALUE_NS),
        Histogram(buckets=((1, 1),), min_ns=0, max_ns=1),
        Histogram(buckets=((1, 1),), min_ns=1, max_ns=-1),
        Histogram(buckets=((70, 2),), min_ns=77, max_ns=76),
        Histogram(min_ns=0, max_ns=1),
    ],
)
def test_what_no_measurement_could_have_made_is_refused(histogram: Histogram) -> None:
    with pytest.raises(Rejected) as caught:
        check_histogram(histogram)

    assert caught.value.code == "histogram-malformed"
