"""The front holds what nothing else beats, and its picture is a whole SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from edgewright.compression.search.front import svg_of, with_front
from edgewright.core.search import Point

FP32 = Point(name="fp32", latency_ms=4.0, spread_ms=0.1, size_bytes=400, agreement=1.0)
INT8 = Point(name="int8", latency_ms=2.0, spread_ms=0.1, size_bytes=100, agreement=0.98)
WORSE = Point(name="worse", latency_ms=2.5, spread_ms=0.1, size_bytes=120, agreement=0.97)
FAST = Point(name="<fast>", latency_ms=1.5, spread_ms=0.1, size_bytes=90, agreement=0.5, is_allowed=False)


def test_what_another_beats_in_every_respect_is_not_on_the_front():
    found = with_front([FP32, INT8, WORSE, FAST])

    assert [point.is_on_front for point in found] == [True, True, False, True]


def test_equal_points_are_both_on_the_front():
    assert all(point.is_on_front for point in with_front([INT8, INT8]))


def test_energy_that_was_not_measured_decides_nothing():
    thrifty = Point(name="thrifty", latency_ms=2.5, spread_ms=0.1, size_bytes=120, agreement=0.97, energy_mj=1.0)

    assert not with_front([INT8, thrifty])[1].is_on_front


def test_the_picture_has_every_point_and_escapes_its_name():
    root = ET.fromstring(svg_of(with_front([FP32, INT8, FAST]), "a & b", "lost"))

    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    titles = [circle[0].text for circle in circles if len(circle)]
    assert len(titles) == 3
    assert "<fast>: 1.500 ms, 90 bytes, refused by the budget" in titles


def test_noise_stands_for_agreement_where_there_are_no_classes():
    quiet = Point(name="quiet", latency_ms=2.0, spread_ms=0.1, size_bytes=100, sqnr_db=30.0)
    loud = Point(name="loud", latency_ms=2.0, spread_ms=0.1, size_bytes=100, sqnr_db=10.0)

    assert [point.is_on_front for point in with_front([quiet, loud])] == [True, False]
