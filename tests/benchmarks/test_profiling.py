"""The benchmark of the profiler: each experiment runs, its figures are complete, and a missed mark is told by the exit status."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def run(start_benchmark):
    def finish(*arguments):
        process = start_benchmark("profiling", "--share", "0.001", "--json", *arguments)
        out, errors = process.communicate(timeout=120)
        assert out, errors
        return process.returncode, json.loads(out)

    return finish


def test_every_quick_experiment_meets_its_marks(run):
    names = ("boards", "clocks", "self-test", "fuzz")

    status, answer = run(*(word for name in names for word in ("--only", name)))

    assert status == 0, answer
    assert {mark["ok"] for mark in answer["marks"]} == {True}
    assert any("16" in mark["unit"] for mark in answer["marks"])


def test_the_plain_integrators_see_the_same_loads_and_miss_much(run):
    _, answer = run("--only", "bias")

    second = next(mark for mark in answer["marks"] if mark["name"].endswith("window 1 s"))
    assert second["naive"]["right rectangle"] < -10
    assert second["naive"]["trapezoid"] < -10
    assert abs(second["value"]) < 1
