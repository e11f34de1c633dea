"""Workers that really die: of more memory than they may take, or by a signal, in one step of the ladder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from edgewright.core.errors import Reason
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import trusted_by_user
from edgewright.pipeline import attempts, child
from edgewright.pipeline.attempts import MAX_WORKERS, run_optimize
from edgewright.pipeline.child import Limits, Outcome
from edgewright.pipeline.request import LostStep, OptimizeRequest, OptimizeResult
from edgewright.pipeline.underway import measuring, step_underway, underway

PYTHON = sys.executable
# What a worker with ONNX Runtime takes on its own fits below it; what the greedy steps take (1 GiB) does not.
LIMITS = Limits(time_s=120, memory_mb=700, nice=0)


@pytest.fixture
def optimize(project_root, tiny_classifier, tiny_samples, tmp_path, monkeypatch):
    """``optimize(int8="hoards")`` runs the pipeline in workers that die so in the steps that are named."""
    script, out = tmp_path / "python", tmp_path / "out"
    text = (project_root / "tests" / "fakes" / "greedy_worker.py").read_text(encoding="utf-8")
    script.write_text(f"#!{PYTHON}\n{text}", encoding="utf-8")
    script.chmod(0o755)
    out.mkdir()
    monkeypatch.setattr(child.sys, "executable", str(script))

    def run(*, limits=LIMITS, on_progress=None, recipe="int8", **steps):
        monkeypatch.setenv("GREEDY_STEPS", json.dumps(steps))
        fields = {"model": str(tiny_classifier), "calibration": str(tiny_samples), "evaluation": None, "out": str(out), "bench_seconds": 0.05}
        request = OptimizeRequest(**fields, recipe=recipe, cache=str(tmp_path / "cache"))
        return run_optimize(request, limits, on_progress=on_progress)

    return run


@pytest.mark.parametrize(("how", "said"), [("hoards", "needed more memory than 700 MB"), ("aborts", "the worker ended by signal 6")])
def test_a_rung_that_takes_its_worker_down_is_left_out_and_the_next_one_chosen(optimize, tmp_path, how, said):
    shares = []

    outcome = optimize(int8=how, on_progress=lambda share, _note: shares.append(share))

    assert outcome.kind == "done", outcome.reason
    result = msgspec.json.decode(outcome.result, type=OptimizeResult)
    assert (result.verdict, result.chosen.name) == ("accepted", "fp32")
    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert any(note.startswith("int8 could not be built: ") and said in note for note in result.notes), result.notes
    # The first worker's engine is not built a second time, and its unfinished work is gone.
    assert result.candidates[0].is_cached
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fp32"]
    assert check_folder(tmp_path / "out" / "fp32", trusted_by_user()).manifest.candidate == result.candidates[0]
    assert shares == sorted(shares)
    assert (outcome.peak_mb > 700) is (how == "hoards")


def test_an_engine_that_takes_its_worker_down_when_it_is_measured_is_left_out(optimize, tmp_path):
    outcome = optimize(**{"measuring int8": "aborts"})

    result = msgspec.json.decode(outcome.result, type=OptimizeResult)
    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert result.candidates[0].is_cached
    note = "int8 was left out, because measuring it ended its worker: the worker ended by signal 6"
    assert any(entry.startswith(note) for entry in result.notes), result.notes
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fp32"]


def test_without_its_calibration_a_model_keeps_its_exact_engine(optimize):
    outcome = optimize(calibration="hoards")

    result = msgspec.json.decode(outcome.result, type=OptimizeResult)
    assert [candidate.name for candidate in result.candidates] == ["fp32"]
    assert any(note.startswith("calibration was left out: ") and "needed more memory than 700 MB" in note for note in result.notes)


def test_when_no_rung_is_left_the_run_ends_with_what_ended_the_last(optimize):
    outcome = optimize(fp32="hoards")

    assert (outcome.kind, outcome.reason.code) == ("out_of_memory", "out-of-memory")
    assert "needed more memory than 700 MB" in outcome.reason.message


class FakeChild:
    """Stands where `run_child` is: each worker says its step and ends as it is told."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.asked = []
        self.limits = []

    def __call__(self, task, request, limits, *, on_progress=None, cancel=None):
        wanted = msgspec.json.decode(request, type=OptimizeRequest)
        self.asked.append(wanted)
        self.limits.append(limits)
        kind, step = self.ends.pop(0)
        if step is not None:
            # As a worker that is killed in its step leaves it.
            (Path(wanted.out) / ".underway").write_text(step, "utf-8")
        return Outcome(kind, b"{}" if kind == "done" else None, None if kind == "done" else Reason(kind, "words", "", "unfit"), 1.0, 50.0)


@pytest.fixture
def fake_child(monkeypatch):
    def install(*ends):
        fake = FakeChild(*ends)
        monkeypatch.setattr(attempts, "run_child", fake)
        return fake

    return install


@pytest.fixture
def request_of(tmp_path):
    (tmp_path / "out").mkdir()
    return OptimizeRequest(model="m.onnx", calibration=None, evaluation=None, out=str(tmp_path / "out"))


def test_each_next_worker_leaves_out_every_step_that_was_lost(fake_child, request_of):
    fake = fake_child(("out_of_memory", "int8"), ("crashed", "mixed"), ("done", None))

    assert run_optimize(request_of, Limits(time_s=600)).kind == "done"
    assert [[entry.name for entry in asked.lost] for asked in fake.asked] == [[], ["int8"], ["int8", "mixed"]]
    assert [asked.spent_s for asked in fake.asked] == sorted(asked.spent_s for asked in fake.asked)
    assert [limits.time_s for limits in fake.limits] == sorted((limits.time_s for limits in fake.limits), reverse=True)


def test_a_crash_that_a_units_worker_reports_is_one(fake_child, request_of):
    fake = fake_child(("worker-crashed", "int8"), ("done", None))

    assert run_optimize(request_of, Limits(time_s=600)).kind == "done"
    assert len(fake.asked) == 2


@pytest.mark.parametrize("kind", ["failed", "timed_out", "cancelled"])
def test_other_ends_are_the_runs_own(fake_child, request_of, kind):
    fake = fake_child((kind, "int8"))

    assert run_optimize(request_of, Limits(time_s=600)).kind == kind
    assert len(fake.asked) == 1


def test_a_worker_that_dies_outside_of_every_step_is_not_started_again(fake_child, request_of):
    fake = fake_child(("crashed", None))

    assert run_optimize(request_of, Limits(time_s=600)).kind == "crashed"
    assert len(fake.asked) == 1


def test_a_step_is_lost_once(fake_child, request_of):
    fake = fake_child(("crashed", "int8"), ("crashed", "int8"))

    assert run_optimize(request_of, Limits(time_s=600)).kind == "crashed"
    assert len(fake.asked) == 2


def test_there_is_an_end_to_new_workers(fake_child, request_of):
    fake = fake_child(*(("crashed", f"step-{index}") for index in range(2 * MAX_WORKERS)))

    assert run_optimize(request_of, Limits(time_s=600)).kind == "crashed"
    assert len(fake.asked) == MAX_WORKERS


def test_time_that_earlier_workers_took_is_named_with_the_whole_limit(fake_child, request_of):
    fake_child(("crashed", "int8"), ("timed_out", None))

    assert run_optimize(request_of, Limits(time_s=600)).reason.message == "optimize took longer than 600 s"


@pytest.mark.parametrize("error", [ValueError, MemoryError])
def test_a_step_takes_its_name_back_when_it_fails(tmp_path, error):
    with pytest.raises(error), underway(tmp_path, "int8"):
        raise error

    assert step_underway(tmp_path) is None


def test_of_steps_in_one_another_the_innermost_is_named(tmp_path):
    with underway(tmp_path, "search"):
        with underway(tmp_path, "auto-1"):
            assert step_underway(tmp_path) == "auto-1"
        assert step_underway(tmp_path) == "search"

    assert step_underway(tmp_path) is None


def test_while_engines_are_measured_in_turns_the_one_whose_turn_it_is_is_named(tmp_path):
    with underway(tmp_path, "search"):
        with measuring(tmp_path) as at:
            assert step_underway(tmp_path) == "search"
            at("a-long-name")
            assert step_underway(tmp_path) == "measuring a-long-name"
            at("int8")
            assert step_underway(tmp_path) == "measuring int8"
        assert step_underway(tmp_path) == "search"
    with measuring(tmp_path) as at:
        assert step_underway(tmp_path) is None
        at("fp32")

    assert step_underway(tmp_path) is None


def test_a_step_takes_its_name_back_when_it_is_done(tmp_path):
    with underway(tmp_path, "int8"):
        assert step_underway(tmp_path) == "int8"

    assert step_underway(tmp_path) is None


def test_a_lost_step_crosses_as_json(request_of):
    request = msgspec.structs.replace(request_of, lost=(LostStep(name="int8", reason=Reason("out-of-memory", "words", "next", "unfit")),))

    assert msgspec.json.decode(msgspec.json.encode(request), type=OptimizeRequest) == request
