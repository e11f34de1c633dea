"""The benchmark of the profiler: each experiment runs, its figures are complete, and a missed mark is told by the exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def run(project_root):
    def start(*arguments):
        argv = [sys.executable, str(project_root / "benchmarks" / "profiling.py"), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    return start


def test_every_quick_experiment_meets_its_marks(run):
    names = ("boards", "clocks", "self-test", "fuzz")

    done = run("--share", "0.001", "--json", *(word for name in names for word in ("--only", name)))

    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer
    assert {mark["ok"] for mark in answer["marks"]} == {True}
    assert any("16" in mark["unit"] for mark in answer["marks"])


def test_the_plain_integrators_see_the_same_loads_and_miss_much(run):
    done = run("--share", "0.001", "--json", "--only", "bias")

    second = next(mark for mark in json.loads(done.stdout)["marks"] if mark["name"].endswith("window 1 s"))
    assert second["naive"]["right rectangle"] < -10
    assert second["naive"]["trapezoid"] < -10
    assert abs(second["value"]) < 1
