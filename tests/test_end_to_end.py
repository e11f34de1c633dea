"""A real fleet on loopback: broker, controller and agent as processes. Good and bad deployments, and the application beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgewright.cli.demo.loopback import LoopbackFleet
from edgewright.cli.demo.surface import write_dataset
from edgewright.controller.enrollment import Address
from edgewright.controller.orders import new_deployment_id
from edgewright.controller.packing import MODEL_NAME, pack_dataset, pack_model
from edgewright.controller.reports import TargetView
from edgewright.core.budget import Budget
from edgewright.core.profile import ProfileOrder, ProfileReport
from edgewright.core.wire.messages import ModelReport, Order, Reply

DEVICE = "board"
MODEL = "surface-classifier"
WAIT_S = 60.0


@dataclass(frozen=True)
class Bench:
    """One device's fleet, with the demo's classifier and its data."""

    fleet: LoopbackFleet
    folder: Path
    model: Path
    calibration: Path

    @property
    def state(self) -> Path:
        return self.folder / DEVICE / "state"

    def deploy(self, name: str, model: Path, calibration: Path | None, *, version: str = "1", budget: Budget | None = None) -> TargetView:
        """Deploy and wait for the end on the device."""
        order = self.order(name, model, calibration, version, budget or Budget())
        self.fleet.orders.deploy(name, order, [DEVICE], time.time())
        return self.wait_for_end(order.deployment)

    def order(self, name: str, model: Path, calibration: Path | None, version: str, budget: Budget) -> Order:
        return Order(
            deployment=new_deployment_id(name),
            version=version,
            model=pack_model(self.fleet.blobs, model),
            model_file=MODEL_NAME,
            calibration=None if calibration is None else pack_dataset(self.fleet.blobs, calibration, model),
            recipe="none" if calibration is None else "int8",
            budget=budget,
            probation_s=0.2,
        )

    def wait_for_end(self, deployment: str) -> TargetView:
        def ended() -> TargetView | None:
            (target,) = self.fleet.reports.deployment(deployment).devices
            return target if target.is_over else None

        return self.until(ended, deployment)

    def report(self, name: str, deployment: str | None = None) -> ModelReport:
        """What the device says of a model, once it speaks of `deployment`."""

        def reported() -> ModelReport | None:
            (view,) = self.fleet.reports.devices()
            report = view.reported.models.get(name) if view.reported else None
            return report if report is not None and deployment in {None, report.deployment} else None

        return self.until(reported, name)

    def until(self, look: Callable[[], object], what: str) -> object:
        deadline = time.monotonic() + WAIT_S
        while (found := look()) is None:
            self.fleet.check_alive()
            assert time.monotonic() < deadline, f"{what}: {self.fleet.processes.last_words(DEVICE)}"
            time.sleep(0.05)  # what is waited for happens in other processes
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("e2e")
    source = Path(sys.modules[LoopbackFleet.__module__].__file__ or "").with_name("surface_classifier.onnx")
    model = folder / "surface.onnx"
    model.write_bytes(source.read_bytes())
    model.with_suffix(".toml").write_bytes(source.with_suffix(".toml").read_bytes())
    write_dataset(folder / "calibration.npz", 32, 5)
    with LoopbackFleet(folder / "fleet-and-boards") as fleet:
        served = fleet.serve("auto")
        fleet.start_agents([DEVICE], Address(served.host, served.port))
        found = Bench(fleet, folder / "fleet-and-boards", model, folder / "calibration.npz")
        assert found.deploy(MODEL, model, found.calibration, version="first").state == "SUCCEEDED"
        yield found


def broken_model(kind: str, good: Path, folder: Path) -> Path:
    path = folder / f"{kind}.onnx"
    data = good.read_bytes()
    if kind == "unknown-operator":
        model = onnx.load(str(good))
        model.graph.node[0].op_type = "NoSuchOperator"
        data = model.SerializeToString()
    contents = {"truncated": data[: len(data) // 2], "empty": b"", "text": b"this is not a model\n", "unknown-operator": data}
    path.write_bytes(contents[kind])
    path.with_suffix(".toml").write_bytes(good.with_suffix(".toml").read_bytes())
    return path


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("truncated", {"model-unreadable"}),
        ("empty", {"model-unreadable"}),
        ("text", {"model-unreadable"}),
        ("unknown-operator", {"operator-unsupported"}),
    ],
)
def test_a_broken_model_is_refused_with_its_reason_and_the_active_engine_stays(bench: Bench, tmp_path: Path, kind: str, codes: set[str]) -> None:
    target = bench.deploy(MODEL, broken_model(kind, bench.model, tmp_path), bench.calibration, version=kind)

    assert target.state == "REJECTED"
    assert target.reason is not None
    assert target.reason.code in codes
    assert target.reason.message
    assert target.reason.next
    active = bench.report(MODEL).active
    assert active is not None
    assert active.version == "first"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("wrong-name", "dataset-wrong-names"),
        ("wrong-shape", "dataset-wrong-shape"),
        ("complex-numbers", "dataset-unreadable"),
        ("no-samples", "dataset-empty"),
        ("not-finite", "dataset-not-finite"),
    ],
)
def test_bad_samples_are_refused_with_their_reason_and_the_active_engine_stays(bench: Bench, tmp_path: Path, kind: str, code: str) -> None:
    plain = tmp_path / "surface.onnx"  # without a card: the input is an array, fed as it is
    plain.write_bytes(bench.model.read_bytes())
    good = np.zeros((4, 3, 96, 96), np.float32)
    holes = good.copy()
    holes[2, 1, 5, 5] = np.nan
    arrays = {
        "wrong-name": {"picture": good},
        "wrong-shape": {"input": good[:, :, :90]},
        "complex-numbers": {"input": good.astype(np.complex64)},
        "no-samples": {"input": good[:0]},
        "not-finite": {"input": holes},
    }
    np.savez(tmp_path / "samples.npz", **arrays[kind])

    target = bench.deploy(MODEL, plain, tmp_path / "samples.npz", version=kind)

    assert (target.state, target.reason.code if target.reason else None) == ("REJECTED", code)
    active = bench.report(MODEL).active
    assert active is not None
    assert active.version == "first"


def test_nothing_half_written_stays_after_refusals(bench: Bench, tmp_path: Path) -> None:
    bench.deploy(MODEL, broken_model("truncated", bench.model, tmp_path), bench.calibration, version="again")

    left = [path for path in bench.state.rglob("*") if path.name.endswith(".tmp") or path.parent.name in {"partial", "work"}]
    engines = [path.name for path in (bench.state / "models" / MODEL / "engines").iterdir()]

    assert left == []
    assert len(engines) == 1


def test_a_model_that_is_not_wanted_any_more_is_removed(bench: Bench) -> None:
    target = bench.deploy("passing", bench.model, None)
    assert target.state == "SUCCEEDED"
    assert (bench.state / "models/passing/current").is_symlink()

    bench.fleet.orders.remove("passing", [DEVICE])

    def gone() -> bool | None:
        (view,) = bench.fleet.reports.devices()
        return True if view.reported and "passing" not in view.reported.models else None

    assert bench.until(gone, "the removal")
    assert not (bench.state / "models/passing").exists()


def test_an_application_goes_on_classifying_while_its_model_changes(bench: Bench, project_root: Path) -> None:
    name = "followed"
    assert bench.deploy(name, bench.model, None, version="one").state == "SUCCEEDED"
    command = [
        sys.executable,
        str(project_root / "examples/classify_stream.py"),
        name,
        "--state",
        str(bench.state),
        "--source",
        str(bench.calibration),
    ]
    with subprocess.Popen([*command, "--every", "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as application:
        try:
            assert application.stdout is not None
            first = application.stdout.readline()
            assert bench.deploy(name, bench.model, bench.calibration, version="two").state == "SUCCEEDED"
            lines = iter(application.stdout.readline, "")
            changed = next(line for line in lines if " two runs on " in line)
            after = [next(lines) for _ in range(3)]
        finally:
            application.terminate()

    assert f"{name} one runs on CPUExecutionProvider" in first
    assert "frame 1:" not in changed
    assert all("class" in line for line in after)


def test_a_detector_passes_through_a_whole_deployment(bench: Bench, shared_data: Path) -> None:
    detector = shared_data / "models/ultraface_rfb320_opset9.onnx"

    target = bench.deploy("faces", detector, shared_data / "imagenet-calibration", budget=Budget(min_sqnr_db=5.0))

    assert target.state == "SUCCEEDED", target.reason
    assert target.measurement is not None
    assert target.measurement.chosen is not None
    fidelity = target.measurement.chosen.fidelity
    assert fidelity is not None
    assert (fidelity.top1, fidelity.agreement) == (None, None)
    assert set(fidelity.outputs) == {"scores", "boxes"}


@pytest.mark.parametrize("model", [MODEL, None], ids=["a model", "whatever runs"])
def test_a_profile_is_asked_for_and_comes_back_whole(bench: Bench, model: str | None) -> None:
    order = ProfileOrder(model=model, seconds=0.3, scenario="open-loop", rate_per_s=100.0)
    command = bench.fleet.orders.ask_profile(DEVICE, order, time.time())

    report = bench.until(lambda: bench.fleet.reports.profile(command), "the profile")

    assert isinstance(report, ProfileReport)
    assert report.profile is not None, report.reason
    assert report.profile.order == order
    assert (report.profile.latency_ms is not None) is (model is not None)
    assert bool(report.profile.energy_mj) is not bool(report.profile.energy_reason) or model is None


def test_a_profile_of_a_model_that_is_not_there_is_refused(bench: Bench) -> None:
    command = bench.fleet.orders.ask_profile(DEVICE, ProfileOrder(model="nothing"), time.time())

    reply = bench.until(lambda: bench.fleet.reports.reply(command), "the refusal")

    assert isinstance(reply, Reply)
    assert reply.reason is not None
    assert reply.reason.code == "model-unknown"
