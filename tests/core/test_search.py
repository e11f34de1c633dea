"""Predictions held against measurements."""

from __future__ import annotations

import pytest
from edgewright.core.search import Point, share_within


def point(predicted_ms, latency_ms=1.0, spread_ms=0.0):
    return Point(name="p", latency_ms=latency_ms, spread_ms=spread_ms, size_bytes=1, predicted_ms=predicted_ms)


def test_the_error_is_relative_to_what_was_measured():
    assert point(1.1, 2.0).prediction_error == pytest.approx(-0.45)
    assert point(None).prediction_error is None


def test_what_was_not_predicted_does_not_count():
    assert share_within([point(1.04), point(0.9), point(None)]) == 0.5
    assert share_within([point(None)]) is None


def test_a_wider_spread_of_the_measurement_is_allowed():
    assert share_within([point(1.08, spread_ms=0.1)]) == 1.0
