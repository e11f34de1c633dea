from __future__ import annotations

import pytest


def bench(edgewright, *arguments):
    return edgewright("bench", *arguments, "--seconds", "0.05")


def test_the_object_has_every_key_that_scripts_rely_on(edgewright, tiny_classifier):
    ran = bench(edgewright, tiny_classifier, "--json")

    assert ran.status == 0
    answer = ran.json
    assert set(answer["latency_ms"]) >= {"mean", "p50", "p90", "p99", "samples"}
    assert answer["latency_ms"]["p50"] <= answer["latency_ms"]["p99"]
    assert (answer["energy_mj"] is None) is bool(answer["energy_reason"])
    assert answer["conditions"]["batch"] == 1
    assert answer["conditions"]["threads"] == 1
    assert answer["conditions"]["provider"] == "CPUExecutionProvider"


def test_batch_and_threads_stand_in_the_conditions(edgewright, tiny_classifier, tiny_samples):
    ran = bench(edgewright, tiny_classifier, "--batch", "3", "--threads", "2", "--calibration", tiny_samples, "--json")

    assert (ran.json["conditions"]["batch"], ran.json["conditions"]["threads"]) == (3, 2)


def test_an_engine_folder_is_measured_too(edgewright, tiny_classifier, tmp_path):
    edgewright("build", tiny_classifier, "--out", tmp_path / "engine")

    ran = bench(edgewright, tmp_path / "engine", "--json")

    assert ran.status == 0
    assert ran.json["latency_ms"]["samples"] >= 100


def test_a_modified_engine_is_refused(edgewright, tiny_classifier, tmp_path):
    edgewright("build", tiny_classifier, "--out", tmp_path / "engine")
    (tmp_path / "engine" / "model.onnx").write_bytes(b"other")

    assert bench(edgewright, tmp_path / "engine", "--json").code == "engine-unusable"


def test_a_folder_without_an_engine_is_refused(edgewright, tmp_path):
    assert bench(edgewright, tmp_path, "--json").code == "engine-unusable"


def test_people_read_latency_throughput_energy_and_where(edgewright, tiny_classifier):
    lines = bench(edgewright, tiny_classifier).out.splitlines()

    assert [line.partition(":")[0] for line in lines[:3]] == ["latency", "throughput", "energy"]
    assert "CPUExecutionProvider" in lines[3]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_prescribed_batch_is_kept_or_the_wish_refused(edgewright, models, tmp_path, batch):
    path = models.save(models.classifier(batch=batch), tmp_path / "m.onnx")

    assert bench(edgewright, path, "--json").json["conditions"]["batch"] == batch
    assert bench(edgewright, path, "--batch", "4", "--json").code == "batch-fixed"


def test_free_axes_need_samples_or_a_card(edgewright, models, tmp_path):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", "length"]}, {"y": None})
    path = models.save(proto, tmp_path / "m.onnx")

    assert bench(edgewright, path, "--json").code == "shapes-unknown"

    path.with_suffix(".toml").write_text("[inputs.x]\nshape_min = [1, 1]\nshape_opt = [1, 16]\nshape_max = [1, 64]\n")
    assert bench(edgewright, path, "--json").status == 0
