"""Drawings: well-formed, complete, and right where it can be checked."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from edgewright.core.trace import Trace, TracedRail, TraceWindow
from edgewright.profiling.plot import svg_of, ticks
from edgewright.profiling.record import Recorder, trace_of
from edgewright.profiling.recording import Recording
from edgewright.profiling.sensor import Rail

SVG = "{http://www.w3.org/2000/svg}"


def rail(label):
    return TracedRail(label=label, key=label, sensor="fake")


def elements(trace, name):
    return list(ET.fromstring(svg_of(trace)).iter(f"{SVG}{name}"))


def test_every_rail_is_a_line_and_every_gap_interrupts_it():
    trace = Trace(rails=(rail("A"), rail("B")), times_us=(0, 1, 2, 3), values_mw=((1, 2, 3, 4), (1, None, 3, 4)))

    lines = elements(trace, "polyline")

    assert [len(line.get("points").split()) for line in lines] == [4, 1, 2]
    assert {"A", "B"} <= {text.text for text in elements(trace, "text")}


def test_higher_power_is_higher_up_and_later_is_further_right():
    (line,) = elements(Trace(rails=(rail("A"),), times_us=(0, 500_000, 1_000_000), values_mw=((0, 5000, 10_000),)), "polyline")

    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert y2 < y1 < y0


def test_windows_are_shaded_with_what_happened_in_them():
    window = TraceWindow(name="inference", start_us=100, end_us=300, inferences=42)

    titles = elements(Trace(rails=(rail("A"),), times_us=(0, 400), values_mw=((1, 1),), windows=(window,)), "title")

    assert [title.text for title in titles] == ["inference: 42 inferences"]


def test_names_cannot_break_out_of_the_drawing():
    found = elements(Trace(rails=(rail("<script>&\"'"),), times_us=(0, 1), values_mw=((1, 1),)), "script")

    assert found == []


@pytest.mark.parametrize("columns", [((),), ((None, None),), ((-400, -400),), ((0, 0),)])
def test_nothing_to_draw_is_still_a_drawing(columns):
    times = tuple(range(len(columns[0])))

    assert elements(Trace(rails=(rail("A"),), times_us=times, values_mw=columns), "rect")


def test_ticks_are_round_and_within():
    assert ticks(0, 12_000) == [0, 2000, 4000, 6000, 8000, 10_000, 12_000]
    assert ticks(-400, 900) == [0, 500]


def test_a_recording_is_written_once_per_row_while_it_grows(tmp_path):
    rails = (Rail("a", "VDD_IN", "fake"), Rail("c", "package-0", "rapl", quantity="energy"))
    recording = Recording(rails, capacity=8)
    with Recorder(rails, tmp_path / "r.csv", tmp_path / "r.svg") as recorder:
        for index in range(20):
            recording.append(index * 0.1, [None if index == 3 else 1000.0 + index, 50.0 * index], 0.001)
            if index % 2:
                recorder.rows(recording)

    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0] == "time_s,VDD_IN (fake) mW,package-0 (rapl) mJ,read_ms"
    assert len(lines) == 21
    assert lines[4].split(",")[1] == ""
    assert lines[20] == "1.900000,1019.000,950.000,1.000"
    assert ET.fromstring((tmp_path / "r.svg").read_text()).tag == f"{SVG}svg"


def test_a_counter_is_drawn_as_power():
    recording = Recording((Rail("c", "package-0", "rapl", quantity="energy"),))
    for index in range(4):
        recording.append(index * 0.5, [1000.0 * index], 0.0)

    assert trace_of(recording).values_mw == ((None, 2000, 2000, 2000),)


def test_a_long_recording_is_thinned():
    recording = Recording((Rail("a", "A", "fake"),))
    for index in range(1000):
        recording.append(float(index), [1.0], 0.0)

    assert len(trace_of(recording, limit=100).times_us) == 100
