from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from edgewright.controller.web.charts import Dot, Line, Part, line_chart, scatter_chart, stacked_bar

NASTY = '"><script>alert(1)</script>'


def widths(bar):
    return [float(width) for width in re.findall(r'width="([\d.]+)%"', bar)]


def test_a_line_has_a_gap_where_nothing_was_measured():
    chart = str(line_chart([Line("a", [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 1.5)])], "W", "power", is_time=False))
    (path,) = re.findall(r' d="([^"]+)"', chart)

    assert (path.count("M"), path.count("L")) == (2, 2)


def test_many_points_are_thinned_and_keep_their_extremes():
    points = [(float(number), 100.0 if number == 5000 else 1.0) for number in range(10_000)]
    chart = str(line_chart([Line("a", points)], "W", "power", is_time=False))
    (path,) = re.findall(r' d="([^"]+)"', chart)
    heights = [float(pair.split()[1]) for pair in re.findall(r"[ML]([\d. ]+)", path)]

    assert len(heights) <= 700
    assert min(heights) < 40 < 200 < max(heights)


@pytest.mark.parametrize("lines", [[], [Line("a", [])], [Line("a", [(0, 1.0)])], [Line("a", [(0, None), (1, None)])]])
def test_without_two_points_nothing_is_drawn(lines):
    assert line_chart(lines, "W", "power") == ""


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e12])
def test_a_series_that_does_not_change_is_drawn(value):
    ET.fromstring(str(line_chart([Line("a", [(0, value), (0, value)])], "W", "power", is_time=False)))


def test_a_bar_s_parts_are_as_wide_as_their_shares():
    bar = str(stacked_bar([Part("good", 3, "good"), Part("none", 0, "bad"), Part("rest", 1, "none")], "all"))

    assert widths(bar) == [75.0, 25.0]
    assert 'aria-label="all: 3 good, 1 rest"' in bar


def test_what_devices_wrote_is_text():
    charts = [
        line_chart([Line(NASTY, [(0, 1.0), (1, 2.0)]), Line("b", [(0, 1.0), (1, 2.0)])], NASTY, NASTY),
        scatter_chart([Dot(1.0, 2.0, 0, NASTY, True)], [NASTY, "b"], NASTY, NASTY, NASTY),
        stacked_bar([Part(NASTY, 1, "good")], NASTY),
    ]

    assert [chart for chart in charts if "<script" in chart] == []
    for chart in charts:
        ET.fromstring(str(chart))


def test_best_dots_are_joined_and_the_others_are_hollow():
    dots = [Dot(1.0, 1.0, 0, "a", True), Dot(2.0, 2.0, 0, "b", True), Dot(2.0, 1.0, 0, "c", False)]
    chart = str(scatter_chart(dots, ["x"], "ms", "dB", "front"))
    (front,) = re.findall(r'<polyline class="front s0" points="([^"]+)"', chart)

    assert len(front.split()) == 2
    assert (chart.count('class="dot s0 best"'), chart.count('class="dot s0"')) == (2, 1)
