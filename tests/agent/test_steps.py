"""The real steps: what a build lays out, how it is limited, what comes out; with a real pipeline on a tiny model where it matters."""

from __future__ import annotations

import dataclasses
import io
import random
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from edgewright.agent import steps
from edgewright.agent.config import LimitsSection, ModelSection, OptimizeSection
from edgewright.agent.steps import WorkerSteps, build_limits
from edgewright.agent.store import Store
from edgewright.core.artifact import Artifact, Blob, describe_bytes
from edgewright.core.budget import Budget, Check
from edgewright.core.errors import EdgewrightError, Reason, Unfit
from edgewright.core.measurement import Candidate
from edgewright.core.wire.frames import CHUNK_BYTES
from edgewright.core.wire.messages import Order, Rival
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import trusted_keys
from edgewright.pipeline import attempts
from edgewright.pipeline.child import Limits, Outcome
from edgewright.pipeline.request import OptimizeRequest, OptimizeResult
from onnx import TensorProto, helper


def put(store: Store, data: bytes) -> Blob:
    blob, lists = describe_bytes(data)
    for each in (*reversed(lists), data):
        part, _ = describe_bytes(each)
        if not store.has(part):
            partial = store.open_partial(part)
            for index in range(partial.count):
                partial.add(index, memoryview(each[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]))
            partial.finish()
    return blob


def artifact(store: Store, **files: bytes) -> Artifact:
    return Artifact({name.replace("__", "."): put(store, data) for name, data in files.items()})


def order(model: Artifact, **fields: Any) -> Order:
    return Order(deployment="d1", version="v", model=model, model_file="model.onnx", **fields)


class FakeChild:
    """Stands where `run_child` is: remembers what was asked, and answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Limits]] = []
        self.answer: Outcome | None = None
        self.seen: dict[str, bytes] = {}

    def __call__(self, task: str, request: bytes, limits: Limits, *, on_progress: Any = None, cancel: Any = None) -> Outcome:
        decoded = msgspec.json.decode(request, type=OptimizeRequest) if task == "optimize" else msgspec.json.decode(request)
        self.calls.append((task, decoded, limits))
        if task == "optimize":
            folder = Path(decoded.out).parent
            self.seen = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert self.answer is not None
        return self.answer


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild()
    monkeypatch.setattr(steps, "run_child", fake)
    monkeypatch.setattr(attempts, "run_child", fake)
    return fake


def refused(reasons: tuple[Reason, ...]) -> Outcome:
    candidate = Candidate(name="int8", backend="b", path="/somewhere/out/int8/e.onnx", size_bytes=5, latency_ms=None, energy_mj=None, fidelity=None)
    check = Check(limit="max_size_bytes", allowed=1.0, value=5.0, outcome="exceeded")
    result = OptimizeResult(
        chosen=candidate, baseline=candidate, candidates=(candidate,), verdict="rejected", reasons=reasons, checks=(check,), notes=("note",)
    )
    return Outcome("done", msgspec.json.encode(result), None, 1.0, 1.0)


def test_a_build_finds_its_files_where_the_readers_look_for_them(device: Any, child: FakeChild, tmp_path: Path) -> None:
    store = device.store
    child.answer = refused(())
    model = artifact(store, model__onnx=b"model", model__toml=b"card")
    pictures = artifact(store, a__png=b"picture", labels__csv=b"file,label")
    evaluation = artifact(store, samples__npz=b"arrays")
    WorkerSteps(device.config, store).build(
        "m", order(model, calibration=pictures, evaluation=evaluation), tmp_path / "w", _progress, threading.Event()
    )
    (_, request, _) = child.calls[0]

    assert child.seen == {
        "model/model.onnx": b"model",
        "model/model.toml": b"card",
        "calibration/labels.csv": b"file,label",
        "calibration/images/a.png": b"picture",
        "evaluation/samples.npz": b"arrays",
    }
    assert (request.model, request.out) == (str(tmp_path / "w/model/model.onnx"), str(tmp_path / "w/out"))
    assert (request.calibration, request.evaluation) == (str(tmp_path / "w/calibration"), str(tmp_path / "w/evaluation/samples.npz"))
    assert (request.model_name, request.deployment, request.model_version) == ("m", "d1", "v")


def _progress(_share: float, _note: str) -> None:
    pass


def test_plans_for_later_releases_are_a_matter_of_this_devices_configuration(device: Any, child: FakeChild, tmp_path: Path) -> None:
    child.answer = refused(())
    config = dataclasses.replace(device.config, optimize=OptimizeSection(compatibility="version"))
    WorkerSteps(config, device.store).build("m", order(artifact(device.store, model__onnx=b"x")), tmp_path / "w", _progress, threading.Event())
    (_, request, _) = child.calls[0]

    assert request.compatibility == "version"


def test_without_datasets_none_is_named(device: Any, child: FakeChild, tmp_path: Path) -> None:
    child.answer = refused(())
    WorkerSteps(device.config, device.store).build("m", order(artifact(device.store, model__onnx=b"x")), tmp_path / "w", _progress, threading.Event())
    (_, request, _) = child.calls[0]

    assert (request.calibration, request.evaluation) == (None, None)


def test_a_refusal_is_an_outcome_and_tells_no_path_of_this_device(device: Any, child: FakeChild, tmp_path: Path) -> None:
    reason = Reason("budget", "too large", "Relax it", "rejected")
    child.answer = refused((reason,))
    outcome = WorkerSteps(device.config, device.store).build(
        "m", order(artifact(device.store, model__onnx=b"x")), tmp_path / "w", _progress, threading.Event()
    )

    assert (outcome.folder, outcome.engine_digest, outcome.notes) == (None, "", ("note",))
    assert outcome.measurement.verdict is not None
    assert (outcome.measurement.verdict.accepted, outcome.measurement.verdict.reasons) == (False, (reason,))
    assert outcome.measurement.chosen is not None
    assert outcome.measurement.chosen.path == "e.onnx"
    assert [Rival(name="int8", backend="b", size_bytes=5)] == list(outcome.measurement.rivals)


def test_a_build_that_fails_leaves_nothing_and_a_second_one_starts_from_nothing(device: Any, child: FakeChild, tmp_path: Path) -> None:
    child.answer = Outcome("failed", None, Reason("model-malformed", "no model", "", "rejected"), 1.0, 1.0)
    runner, wanted = WorkerSteps(device.config, device.store), order(artifact(device.store, model__onnx=b"x"))
    (tmp_path / "w" / "out" / "int8").mkdir(parents=True)
    (tmp_path / "w" / "out" / "int8" / "half.onnx").write_bytes(b"of an earlier try")
    with pytest.raises(EdgewrightError) as caught:
        runner.build("m", wanted, tmp_path / "w", _progress, threading.Event())

    assert (caught.value.code, caught.value.family) == ("model-malformed", "rejected")
    assert (sorted(child.seen), (tmp_path / "w").exists()) == (["model/model.onnx"], False)


def test_a_blob_that_has_gone_is_said(device: Any, child: FakeChild, tmp_path: Path) -> None:
    wanted = order(Artifact({"model.onnx": Blob("3" * 64, 5)}))
    with pytest.raises(Unfit) as caught:
        WorkerSteps(device.config, device.store).build("m", wanted, tmp_path / "w", _progress, threading.Event())

    assert (caught.value.code, child.calls, (tmp_path / "w").exists()) == ("blob-missing", [], False)


@pytest.mark.parametrize(
    ("budget", "limits", "expected"),
    [
        (Budget(), LimitsSection(), Limits(3600.0, None, 128.0, 3)),
        (Budget(max_build_s=10.0), LimitsSection(), Limits(10.0, None, 128.0, 3)),
        (Budget(max_build_s=0.0), LimitsSection(), Limits(0.0, None, 128.0, 3)),
        (Budget(max_build_s=9999.0), LimitsSection(max_build_s=60.0), Limits(60.0, None, 128.0, 3)),
        (Budget(max_build_memory_mb=500.0), LimitsSection(), Limits(3600.0, 500.0, 128.0, 3)),
        (Budget(max_build_memory_mb=500.0), LimitsSection(max_build_memory_mb=200.0), Limits(3600.0, 200.0, 128.0, 3)),
        (Budget(), LimitsSection(max_build_memory_mb=200.0), Limits(3600.0, 200.0, 128.0, 3)),
        (Budget(), LimitsSection(min_available_memory_mb=0.0), Limits(3600.0, None, None, 3)),
    ],
)
def test_the_tighter_limit_of_order_and_device_holds(device: Any, budget: Budget, limits: LimitsSection, expected: Limits) -> None:
    config = dataclasses.replace(device.config, limits=limits, optimize=OptimizeSection(nice=3))

    assert expected == build_limits(config, budget)


def test_a_command_that_is_not_configured_is_not_run(device: Any) -> None:
    runner = WorkerSteps(device.config, device.store)

    runner.command("m", "activate", Path("/engine"), threading.Event())
    runner.command("m", "health", Path("/engine"), threading.Event())


def test_the_configured_command_of_the_verb_is_run(make_device: Any) -> None:
    device = make_device(models={"m": ModelSection(activate=("true",), health=("false",))})
    runner = WorkerSteps(device.config, device.store)
    runner.command("m", "activate", Path("/engine"), threading.Event())
    with pytest.raises(Unfit) as caught:
        runner.command("m", "health", Path("/engine"), threading.Event())

    assert caught.value.code == "health-failed"


# --- with real children ---


def linear_model(features: int = 8, classes: int = 4) -> bytes:
    rng = np.random.default_rng(1)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [features, classes], rng.standard_normal(features * classes).astype(np.float32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])],
        [weight],
    )
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def samples(features: int = 8) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, input=np.random.default_rng(2).standard_normal((32, features)).astype(np.float32))
    return buffer.getvalue()


def test_a_real_build_makes_an_engine_that_the_real_probe_runs(device: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(device.config, optimize=OptimizeSection(bench_seconds=0.05))
    store, runner = device.store, WorkerSteps(config, device.store)
    wanted = order(artifact(store, model__onnx=linear_model()), calibration=artifact(store, samples__npz=samples()))
    heard: list[float] = []
    outcome = runner.build("m", wanted, tmp_path / "w", lambda share, _note: heard.append(share), threading.Event())

    assert outcome.folder is not None
    manifest = check_folder(outcome.folder, trusted_keys(config.state)).manifest
    assert (manifest.model, manifest.deployment, manifest.model_version) == ("m", "d1", "v")
    assert outcome.engine_digest == manifest.files[manifest.engine].digest
    assert heard == sorted(heard)
    runner.probe(outcome.folder, threading.Event())
    (outcome.folder / manifest.engine).write_bytes(random.Random(1).randbytes(100))
    with pytest.raises(Unfit) as caught:
        runner.probe(outcome.folder, threading.Event())
    assert caught.value.code == "engine-unusable"


def test_cancelling_a_real_build_ends_it_and_leaves_nothing(device: Any, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    wanted = order(artifact(device.store, model__onnx=linear_model()), calibration=artifact(device.store, samples__npz=samples()))
    with pytest.raises(EdgewrightError) as caught:
        WorkerSteps(device.config, device.store).build("m", wanted, tmp_path / "w", _progress, cancel)

    assert (caught.value.code, (tmp_path / "w").exists()) == ("cancelled", False)


def test_the_device_s_facts_name_its_usable_runtimes() -> None:
    facts = steps.look_at_device(threading.Event())

    usable = [backend for backend in facts.backends if backend.usable]
    assert facts.runtime == ", ".join(f"{backend.name} {backend.version}" for backend in usable)
    assert "onnxruntime" in facts.runtime


@pytest.mark.parametrize(("wanted_s", "given_s"), [(0.0, 0.0), (100.0, 100.0), (5000.0, 600.0)])
def test_a_search_takes_the_owner_s_seconds_and_leaves_time_for_the_rest_of_the_build(device, tmp_path, monkeypatch, wanted_s, given_s) -> None:
    asked: list[OptimizeRequest] = []

    def ends(request: OptimizeRequest, *_args: Any, **_options: Any) -> Any:
        asked.append(request)
        raise Unfit("cancelled", "that was all", "")

    monkeypatch.setattr(steps, "run_optimize", ends)
    config = dataclasses.replace(device.config, optimize=OptimizeSection(search_s=wanted_s), limits=LimitsSection(max_build_s=1000.0))
    goal = order(artifact(device.store, model__onnx=linear_model()), calibration=artifact(device.store, samples__npz=samples()))

    with pytest.raises(Unfit):
        WorkerSteps(config, device.store).build("m", goal, tmp_path / "w", _progress, threading.Event())

    assert [request.search_s for request in asked] == [given_s]
