"""The student of a recipe, in `optimize` as a deployment runs it."""

from __future__ import annotations

import sys

import pytest
from edgewright.core.budget import Budget
from edgewright.pipeline import optimize as optimize_module
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest
from edgewright.pipeline.spare import why_not_now


@pytest.fixture
def run(wide_classifier, tiny_samples, tmp_path, monkeypatch):
    """`optimize` with a recipe that asks for a student, on a device that has nothing else to do."""
    recipe, out = tmp_path / "taught.toml", tmp_path / "out"

    def start(*, text='quantize = true\n[distill]\nstudent = "plain:4"\nminutes = 0.05\n', obstacle=None, model=wide_classifier, **changes):
        recipe.write_text(text)
        out.mkdir(exist_ok=True)
        monkeypatch.setattr(optimize_module, "why_not_now", lambda: obstacle)
        fields = {"model": str(model), "calibration": str(tiny_samples), "evaluation": None, "out": str(out), "bench_seconds": 0.05}
        request = OptimizeRequest(**{**fields, "recipe_file": str(recipe), **changes})
        return optimize(request, progress=lambda _share, _note: None, cancel=lambda: False)

    return start


def names(result):
    return [candidate.name for candidate in result.candidates]


def test_a_student_is_one_more_candidate_measured_and_gated_like_the_others(run, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    from edgewright.pipeline import apprentice

    monkeypatch.setattr(apprentice, "MIN_MINUTES", 0.01)

    result = run(budget=Budget(min_agreement=0.9))

    assert names(result) == ["fp32", "int8", "student", "student-int8"]
    assert "a student was taught: plain:4" in result.notes
    student = result.candidates[2]
    assert student.size_bytes < result.baseline.size_bytes
    assert student.fidelity.samples == 40
    assert result.chosen.name in {"fp32", "int8"} or result.chosen.fidelity.agreement >= 0.9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"obstacle": "the device runs on its battery"}, "battery"),
        # Less than the hour that a student would need here, and enough for the rest on a slow machine.
        ({"budget": Budget(max_build_s=300.0)}, "the budget leaves"),
    ],
)
def test_a_student_that_cannot_be_taught_now_is_a_note_and_the_rest_goes_on(run, monkeypatch, changes, reason):
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    from edgewright.pipeline import apprentice

    monkeypatch.setattr(apprentice, "MIN_MINUTES", 60.0)

    result = run(text='quantize = true\n[distill]\nstudent = "plain:4"\nminutes = 90\n', **changes)

    assert names(result) == ["fp32", "int8"]
    assert any("no student was taught" in note and reason in note for note in result.notes)


def test_without_pytorch_the_note_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    result = run()

    assert names(result) == ["fp32", "int8"]
    assert any("no student was taught" in note and "edgewright[distill]" in note for note in result.notes)


def test_a_student_that_cannot_be_built_is_a_note_too(run):
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")

    result = run(text='quantize = true\n[distill]\nstudent = "grouped:6"\n')

    assert names(result) == ["fp32", "int8"]
    assert any("no student was taught" in note and "groups" in note for note in result.notes)


@pytest.mark.parametrize(("on_battery", "load", "word"), [(True, 0.0, "battery"), (False, 0.9, "busy"), (True, 0.9, "battery"), (False, 0.1, None)])
def test_long_work_waits_for_mains_power_and_an_idle_device(on_battery, load, word):
    reason = why_not_now(battery=lambda: on_battery, load=lambda: load)

    assert (reason is None) is (word is None)
    assert word is None or word in reason
