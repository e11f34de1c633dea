"""The worker's tasks in real children."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.core.files import write_atomic
from edgewright.engines.manifest import read_manifest, write_manifest
from edgewright.engines.provenance import device_signer, identity_folder
from edgewright.pipeline.child import Limits, run_child
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest, OptimizeResult

PATIENT = Limits(time_s=120, nice=0)


@pytest.fixture
def request_of(tiny_classifier, tiny_samples, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return OptimizeRequest(model=str(tiny_classifier), calibration=str(tiny_samples), evaluation=None, out=str(out), bench_seconds=0.05)


def test_optimize_answers_with_what_it_measured(request_of):
    shares = []

    outcome = run_child("optimize", msgspec.json.encode(request_of), PATIENT, on_progress=lambda share, _note: shares.append(share))

    assert outcome.kind == "done", outcome.reason
    result = msgspec.json.decode(outcome.result, type=OptimizeResult)
    assert result.verdict == "accepted"
    assert [candidate.name for candidate in result.candidates] == ["fp32", "int8"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert outcome.peak_mb > 20


def test_optimize_hands_back_a_refusal(request_of, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    request = msgspec.structs.replace(request_of, model=str(tmp_path / "text.onnx"))

    outcome = run_child("optimize", msgspec.json.encode(request), PATIENT)

    assert outcome.kind == "failed"
    assert outcome.reason.code == "model-unreadable"
    assert outcome.reason.family == "rejected"


def test_what_nobody_foresaw_is_an_internal_error():
    outcome = run_child("optimize", b"this is no request", PATIENT)

    assert outcome.kind == "failed"
    assert outcome.reason.code == "internal-error"
    assert outcome.reason.family == "faulty"


def test_an_unknown_task_is_refused():
    outcome = run_child("fly", b"", PATIENT)

    assert outcome.kind == "failed"
    assert outcome.reason.code == "unknown-plugin"


def test_capabilities_name_board_backends_and_sensors():
    answer = msgspec.json.decode(run_child("capabilities", b"", PATIENT).result)

    assert answer["board"]
    assert {"onnxruntime", "null"} <= {backend["name"] for backend in answer["backends"]}
    for entry in (*answer["backends"], *answer["sensors"]):
        assert entry["usable"] or entry["reason"]


@pytest.fixture
def engine(request_of, tmp_path):
    optimize(msgspec.structs.replace(request_of, recipe="none", calibration=None), progress=lambda *_: None, cancel=lambda: False)
    return tmp_path / "out" / "fp32"


def probe(folder):
    return run_child("probe", msgspec.json.encode({"folder": str(folder)}), PATIENT)


def test_probe_runs_a_whole_engine(engine):
    outcome = probe(engine)

    assert outcome.kind == "done", outcome.reason
    assert msgspec.json.decode(outcome.result)["provider"] == "CPUExecutionProvider"


def test_probe_refuses_a_modified_engine(engine):
    write_atomic(engine / "model.onnx", (engine / "model.onnx").read_bytes() + b"x")

    outcome = probe(engine)

    assert outcome.kind == "failed"
    assert outcome.reason.code == "engine-unusable"


def test_probe_refuses_an_engine_that_runs_on_another_provider_now(engine):
    write_manifest(engine, msgspec.structs.replace(read_manifest(engine), provider="CUDAExecutionProvider"), device_signer(identity_folder()))

    outcome = probe(engine)

    assert outcome.reason.code == "provider-unusable"
    assert "CUDAExecutionProvider" in outcome.reason.message
