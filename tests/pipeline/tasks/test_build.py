"""Builds in real children: each way to end has its name, and the parent is as it was."""

from __future__ import annotations

import os
import threading

import msgspec
import pytest
from edgewright.engines.opening import open_folder
from edgewright.engines.provenance import trusted_by_user
from edgewright.pipeline.child import Limits, run_child
from edgewright.pipeline.memory import group_rss_mb
from edgewright.pipeline.request import BuildRequest, BuildResult

PATIENT = Limits(time_s=120, nice=0)


@pytest.fixture
def build(tiny_classifier, tmp_path):
    def run(limits=PATIENT, *, on_progress=None, cancel=None, **fields):
        request = BuildRequest(**{"model": str(tiny_classifier), "out": str(tmp_path / "engine"), **fields})
        return run_child("build", msgspec.json.encode(request), limits, on_progress=on_progress, cancel=cancel)

    return run


def test_built(build, models, tmp_path):
    shares = []

    outcome = build(on_progress=lambda share, _note: shares.append(share))

    assert outcome.kind == "done", outcome.reason
    result = msgspec.json.decode(outcome.result, type=BuildResult)
    assert (result.backend, result.is_cached) == ("onnxruntime", False)
    assert shares == sorted(shares)
    manifest, runner = open_folder(tmp_path / "engine", trusted_by_user())
    with runner:
        assert runner.infer({"input": models.samples(1)})["logits"].shape == (1, 4)
    assert manifest.fingerprint == result.fingerprint


def test_the_second_time_it_is_taken_from_the_cache(build, tmp_path):
    build(cache=str(tmp_path / "cache"))

    outcome = build(cache=str(tmp_path / "cache"), out=str(tmp_path / "second"))

    assert msgspec.json.decode(outcome.result, type=BuildResult).is_cached


def test_refused_by_the_parser(build, models, tmp_path):
    nodes = [models.node("Frobnicate", ["x"], ["y"], domain="com.acme")]
    path = models.save(models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, domains={"com.acme": 1}), tmp_path / "odd.onnx")

    outcome = build(model=str(path))

    assert (outcome.kind, outcome.reason.code) == ("failed", "operator-unsupported")
    assert "Frobnicate" in outcome.reason.message
    assert not (tmp_path / "engine").exists()


def test_out_of_memory(build, models, tmp_path):
    """A file of 2 kB that takes a gigabyte to load."""
    path = models.save(models.hungry(64, 16), tmp_path / "hungry.onnx")
    before_mb = group_rss_mb(os.getpid())

    outcome = build(Limits(time_s=120, memory_mb=300, nice=0), model=str(path))

    assert (outcome.kind, outcome.reason.code) == ("out_of_memory", "out-of-memory")
    assert 300 < outcome.peak_mb < 600
    assert group_rss_mb(os.getpid()) < before_mb + 20
    assert not (tmp_path / "engine").exists()


def test_timed_out(build, models, tmp_path):
    outcome = build(Limits(time_s=0.05, nice=0))

    assert (outcome.kind, outcome.reason.code) == ("timed_out", "timed-out")


def test_cancelled(build, models, tmp_path):
    path = models.save(models.hungry(64, 200), tmp_path / "hungry.onnx")
    cancel = threading.Event()

    outcome = build(Limits(time_s=120, memory_mb=8000, nice=0), model=str(path), on_progress=lambda *_: cancel.set(), cancel=cancel)

    assert (outcome.kind, outcome.reason.code) == ("cancelled", "cancelled")
    assert not (tmp_path / "engine").exists()


def test_an_unusable_backend_is_this_devices_fault(build):
    outcome = build(backend="tensorrt")

    if outcome.kind == "done":
        pytest.skip("TensorRT is usable here")
    assert (outcome.reason.code, outcome.reason.family) == ("backend-unavailable", "unfit")
