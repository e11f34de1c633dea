from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest

BARE = ("--seconds", "0.05", "--json")


@pytest.fixture
def taught(models, tmp_path):
    """Sixty-four samples with labels."""
    return models.save_samples(tmp_path / "data.npz", 64, labels=np.arange(64) % 4)


def torch_or_skip():
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")


def test_a_forward_only_student_needs_no_pytorch_and_takes_the_teacher_s_place(edgewright, wide_classifier, taught, tmp_path):
    out = tmp_path / "student"

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", out, "--student", "plain:8,plain:16/2", "--forward-only", *BARE)

    assert (ran.status, ran.err) == (0, "")
    answer = ran.json
    student = onnx.load(answer["path"])
    onnx.checker.check_model(student, full_check=True)
    assert [value.name for value in student.graph.output] == ["logits"]
    assert answer["student"]["macs"] < answer["teacher"]["macs"]
    assert answer["student"]["latency_ms"]["samples"] >= 100
    assert 0 <= answer["fidelity"]["agreement"] <= 1
    assert answer["history"] is None
    assert (out / "student.toml").read_bytes() == wide_classifier.with_suffix(".toml").read_bytes()
    assert edgewright("bench", answer["path"], "--seconds", "0.05", "--json").status == 0


def test_a_trained_student_comes_with_its_curves_report_and_checkpoint(edgewright, wide_classifier, taught, tmp_path):
    torch_or_skip()
    out = tmp_path / "student"

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", out, "--student", "plain:8", "--epochs", "2", *BARE)

    assert (ran.status, ran.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint.pt", "curves.svg", "report.json", "student.onnx", "student.toml", "student.txt",
    ]  # fmt: skip
    assert json.loads((out / "report.json").read_text()) == ran.json
    assert ran.json["losses"] == ["hinton=1", "labels=1", "activation_sequence=2"]
    assert len(ran.json["history"]["epochs"]) == 2
    assert ran.json["export_error"] < 1e-3


def test_a_finished_training_can_be_made_longer(edgewright, wide_classifier, taught, tmp_path):
    torch_or_skip()
    out = tmp_path / "student"
    arguments = ("distill", wide_classifier, "--data", taught, "--out", out, "--student", "plain:8")

    assert edgewright(*arguments, "--epochs", "1", *BARE).status == 0
    ran = edgewright(*arguments, "--epochs", "3", "--resume", *BARE)

    assert [entry["number"] for entry in ran.json["history"]["epochs"]] == [1, 2, 3]


def test_the_search_finds_a_student_within_the_limits(edgewright, wide_classifier, taught, tmp_path, monkeypatch):
    torch_or_skip()
    from edgewright.distillation import auto

    monkeypatch.setattr(auto, "MOST", 3)
    monkeypatch.setattr(auto, "ROUNDS", 2)
    out = tmp_path / "student"

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", out, "--epochs", "1", "--max-size-kb", "40", *BARE)

    assert ran.status == 0
    answer = ran.json
    assert len(answer["searched"]) == 3
    assert answer["spec"] == answer["searched"][0]["spec"]
    assert answer["student"]["params"] * 4 <= 40_000
    assert answer["student"]["macs"] <= 0.25 * answer["teacher"]["macs"]


def test_ctrl_c_keeps_the_student_and_a_checkpoint_to_go_on_from(edgewright, wide_classifier, taught, tmp_path):
    torch_or_skip()
    out = tmp_path / "student"
    argv = [sys.executable, "-Im", "edgewright.cli.main", "distill", wide_classifier, "--data", taught, "--out", out, "--student", "plain:8"]
    limits = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | {"PYTHONUNBUFFERED": "1"}}
    with subprocess.Popen([*map(str, argv), "--epochs", "100000", *BARE], **limits) as process:
        wait_for(process, out / "checkpoint.pt")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)

    assert (process.returncode, errors) == (130, "")
    stopped = json.loads(output)
    assert stopped["ending"] == "stopped"
    onnx.checker.check_model(onnx.load(stopped["path"]))
    done = len(stopped["history"]["epochs"])
    resumed = edgewright(*argv[3:], "--epochs", str(done + 1), "--resume", *BARE)
    assert (resumed.status, resumed.json["ending"]) == (0, "finished")
    assert resumed.json["history"]["epochs"][:done] == stopped["history"]["epochs"]


def wait_for(process, path):
    """Until `path` exists: a process that ends before says why not."""
    import time

    end_s = time.monotonic() + 120
    while not path.exists():
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            assert time.monotonic() < end_s, f"{path.name} never came"
        else:
            raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--student", "plane:8"), "student-spec-bad"),
        (("--student", "grouped:6"), "student-spec-unbuildable"),
        (("--student", "plain:8", "--losses", "hintn"), "loss-unknown"),
        (("--student", "plain:8", "--output", "logit"), "teacher-outputs"),
        (("--student", "plain:8", "--labels", "none.npy"), "dataset-unreadable"),
        (("--student", "auto", "--forward-only"), "student-spec-bad"),
        (("--student", "plain:8", "--resume"), "checkpoint-missing"),
    ],
)
def test_what_cannot_be_distilled_is_refused_in_one_line(edgewright, wide_classifier, taught, tmp_path, options, code):
    if "--forward-only" not in options:
        torch_or_skip()
    out = tmp_path / "student"
    if "--resume" in options:
        out.mkdir()

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", out, *options, *BARE)

    assert (ran.status, ran.code) == (1, code)


def test_labels_of_their_own_are_what_both_are_judged_by(edgewright, wide_classifier, taught, models, tmp_path):
    with np.load(taught) as data:
        right = models.run(onnx.load(wide_classifier), {"input": data["input"]})["logits"].argmax(1)
    np.save(tmp_path / "right.npy", right)
    options = ("--student", "plain:8", "--forward-only", "--labels", tmp_path / "right.npy")

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", tmp_path / "student", *options, *BARE)

    assert ran.status == 0
    assert ran.json["fidelity"]["top1_fp32"] == 1.0


def test_without_pytorch_it_says_how_to_get_it_and_how_to_do_without(edgewright, wide_classifier, taught, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    ran = edgewright("distill", wide_classifier, "--data", taught, "--out", tmp_path / "student", *BARE)

    assert (ran.status, ran.code) == (1, "torch-missing")
    error = ran.json["error"]
    assert "edgewright[distill]" in error["message"]
    assert "--forward-only" in error["next"]


def test_a_person_is_told_what_came_out(edgewright, wide_classifier, taught, tmp_path):
    ran = edgewright(
        "distill", wide_classifier, "--data", taught, "--out", tmp_path / "s", "--student", "plain:8", "--forward-only", "--seconds", "0.05"
    )

    assert ran.status == 0
    assert "teacher" in ran.out
    assert "agreement" in ran.out
    assert "in closed form" in ran.out.splitlines()[-1]


def test_a_teacher_with_several_outputs_teaches_the_one_that_is_named(edgewright, two_headed, taught, tmp_path):
    arguments = ("distill", two_headed, "--data", taught, "--student", "plain:12", "--forward-only", *BARE)

    unnamed = edgewright(*arguments, "--out", tmp_path / "a")
    named = edgewright(*arguments, "--out", tmp_path / "b", "--output", "boxes")

    assert (unnamed.status, unnamed.code) == (1, "teacher-outputs")
    assert named.status == 0
    assert [value.name for value in onnx.load(named.json["path"]).graph.output] == ["boxes"]
    assert named.json["fidelity"]["agreement"] is None
    assert named.json["fidelity"]["sqnr_db"] > 10
    assert "scores" in named.json["notes"][-1]
