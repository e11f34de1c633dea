from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def test_writes_an_int8_model_and_says_how_faithful_it_is(edgewright, tiny_classifier, tiny_samples, tmp_path):
    ran = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--out", tmp_path / "out", "--json")

    assert ran.status == 0
    assert ran.err == ""
    answer = ran.json
    assert answer["method"] == "auto"
    assert answer["images"] == 40
    assert answer["seconds"] > 0
    assert answer["peak_rss_mb"] > 10
    assert set(answer["outputs"]) >= {"onnxruntime", "tensorrt", "tensorrt_cache"}
    assert Path(answer["outputs"]["onnxruntime"]).is_file()
    fidelity = answer["fidelity"]
    assert set(fidelity) >= {"top1_fp32", "top1", "agreement", "sqnr_db", "samples"}
    assert (fidelity["top1"], fidelity["samples"], fidelity["measured_on"]) == (None, 40, "calibration")
    assert fidelity["sqnr_db"] > 25
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["model.calibration.cache", "model.int8.onnx", "model.tensorrt.onnx", "ranges.json"]


def test_people_read_three_lines(edgewright, models, tiny_classifier, tiny_samples, tmp_path):
    evaluation = models.save_samples(tmp_path / "evaluation.npz", 20, seed=8, labels=np.arange(20) % 4)

    ran = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--evaluation", evaluation, "--out", tmp_path / "out")

    assert ran.status == 0
    lines = ran.out.splitlines()
    # Which ends stay in float is measured, so that the number of layers is this machine's.
    assert "layers quantised from 40 samples" in lines[0]
    assert "on 20 evaluation samples" in lines[1]
    assert lines[-1] == str(tmp_path / "out" / "model.int8.onnx")


def test_repair_can_be_left_out(edgewright, tiny_classifier, tiny_samples, tmp_path):
    for name, extra in (("with", []), ("without", ["--no-repair"])):
        assert edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--out", tmp_path / name, *extra).status == 0

    assert (tmp_path / "with" / "model.int8.onnx").read_bytes() != (tmp_path / "without" / "model.int8.onnx").read_bytes()


def test_calibration_samples_must_be_given(edgewright, tiny_classifier, tmp_path):
    ran = edgewright("calibrate", tiny_classifier, "--out", tmp_path / "out")

    assert ran.status == 2
    assert "--calibration" in ran.err


BAD_SAMPLES = {
    "wrong name": (lambda x: {"inputs": x}, "dataset-wrong-names"),
    "wrong shape": (lambda x: {"input": x[:, :, :4]}, "dataset-wrong-shape"),
    "wrong type": (lambda x: {"input": x.astype("S3")}, "dataset-unreadable"),
    "complex": (lambda x: {"input": x.astype(complex)}, "dataset-unreadable"),
    "no samples": (lambda x: {"input": x[:0]}, "dataset-empty"),
    "nothing": (lambda _x: {}, "dataset-wrong-names"),
    "NaN": (lambda x: {"input": np.where(np.arange(len(x)).reshape(-1, 1, 1, 1) == 7, np.nan, x)}, "dataset-not-finite"),
    "infinity": (lambda x: {"input": np.where(np.arange(len(x)).reshape(-1, 1, 1, 1) == 7, np.inf, x)}, "dataset-not-finite"),
    "too few labels": (lambda x: {"input": x, "labels": np.zeros(3, np.int64)}, "dataset-wrong-labels"),
    "no such class": (lambda x: {"input": x, "labels": np.full(len(x), 4)}, "dataset-wrong-labels"),
}


@pytest.mark.parametrize("kind", BAD_SAMPLES)
@pytest.mark.parametrize("command", ["calibrate", "optimize"])
def test_bad_samples_are_one_clear_line_and_leave_nothing(edgewright, models, tiny_classifier, tmp_path, kind, command):
    make, code = BAD_SAMPLES[kind]
    np.savez(tmp_path / "bad.npz", **make(models.samples(12)))

    ran = edgewright(command, tiny_classifier, "--calibration", tmp_path / "bad.npz", "--out", tmp_path / "out", "--json")

    assert ran.status == 1
    assert ran.code == code
    assert not (tmp_path / "out").exists()


BAD_MODELS = {
    "empty": (lambda _data: b"", "model-unreadable"),
    "half": (lambda data: data[: len(data) // 2], "model-unreadable"),
    "text": (lambda _data: b"hello\n" * 100, "model-unreadable"),
    "zeros": (lambda _data: b"\0" * 1000, "model-unreadable"),
    "a picture": (lambda _data: b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, "model-unreadable"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
@pytest.mark.parametrize("command", ["calibrate", "optimize", "build", "bench"])
def test_bad_models_are_one_clear_line_and_leave_nothing(edgewright, tiny_classifier, tiny_samples, tmp_path, kind, command):
    make, code = BAD_MODELS[kind]
    path = tmp_path / "bad.onnx"
    path.write_bytes(make(tiny_classifier.read_bytes()))
    data = [] if command in {"build", "bench"} else ["--calibration", tiny_samples]
    out = [] if command == "bench" else ["--out", tmp_path / "out"]

    ran = edgewright(command, path, *data, *out, "--json")

    assert ran.status == 1
    assert ran.code == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["calibrate", "optimize", "build", "bench"])
def test_an_operator_that_the_runtime_lacks_is_named(edgewright, models, tiny_samples, tmp_path, command):
    nodes = [models.node("Conv", ["input", "w"], ["c"]), models.node("Frobnicate", ["c"], ["y"], domain="com.acme")]
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    path = models.save(models.model(nodes, {"input": ["N", 3, 8, 8]}, {"y": None}, weights, domains={"com.acme": 1}), tmp_path / "odd.onnx")
    data = [] if command in {"build", "bench"} else ["--calibration", tiny_samples]
    out = [] if command == "bench" else ["--out", tmp_path / "out"]

    ran = edgewright(command, path, *data, *out, "--json")

    assert ran.code == "operator-unsupported"
    assert "Frobnicate" in ran.json["error"]["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ('[inputs.input]\ncolour = "RGB"\n', "card-unknown-key"),
        ("[inputs.input", "card-unreadable"),
        ('[inputs.inptu]\nkind = "array"\n', "card-mismatch"),
    ],
)
def test_a_bad_card_is_refused(edgewright, tiny_classifier, tiny_samples, tmp_path, card, code):
    tiny_classifier.with_suffix(".toml").write_text(card)

    ran = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--out", tmp_path / "out", "--json")

    assert ran.code == code
    assert not (tmp_path / "out").exists()


def test_pictures_need_a_card(edgewright, models, tmp_path):
    path = models.save(models.classifier(), tmp_path / "bare.onnx")
    (tmp_path / "pictures" / "images").mkdir(parents=True)
    (tmp_path / "pictures" / "images" / "a.png").write_bytes(b"not read")

    ran = edgewright("calibrate", path, "--calibration", tmp_path / "pictures", "--out", tmp_path / "out", "--json")

    assert ran.code == "dataset-wrong-type"
    assert "[inputs.input]" in ran.json["error"]["next"]


def test_a_full_folder_is_refused_before_any_work(edgewright, tiny_classifier, tiny_samples, tmp_path):
    ran = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--out", tmp_path, "--json")

    assert ran.code == "out-not-empty"
    assert tiny_samples.exists()


def test_an_out_that_cannot_be_made_is_refused(edgewright, tiny_classifier, tiny_samples):
    assert edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--out", "/proc/x", "--json").code == "out-unwritable"


def test_half_precision_is_written_and_measured(edgewright, models, tiny_classifier, tiny_samples, tmp_path):
    evaluation = models.save_samples(tmp_path / "evaluation.npz", 60, seed=4)
    ran = edgewright(
        "calibrate",
        tiny_classifier,
        "--calibration",
        tiny_samples,
        "--evaluation",
        evaluation,
        "--precision",
        "fp16",
        "--out",
        tmp_path / "out",
        "--json",
    )

    assert ran.status == 0
    assert ran.json["precision"] == "fp16"
    assert ran.json["outputs"] == {"fp16": str(tmp_path / "out" / "model.fp16.onnx")}
    assert ran.json["fidelity"]["sqnr_db"] > 50
    assert ran.json["fidelity"]["samples"] == 60
    assert ran.json["kept"] == []
