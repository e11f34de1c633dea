"""The three deployments of the demo, what each of them must come to, and what is really seen.

Nothing is taken for granted: each outcome is read from what the devices reported to the controller.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...controller.orders import new_deployment_id
from ...controller.packing import MODEL_NAME, pack_dataset, pack_model
from ...core.budget import Budget
from ...core.errors import Faulty, Reason
from ...core.wire.messages import Event, Order, State
from .loopback import POLL_S, LoopbackFleet
from .surface import write_dataset

if TYPE_CHECKING:
    from ...controller.reports import DeploymentView

MODEL = "surface-classifier"
STEP_S = 120.0
CALIBRATION_IMAGES, EVALUATION_IMAGES = 48, 240
CALIBRATION_SEED, EVALUATION_SEED = 2024, 20_240
PROBATION_S = 1.5

Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One deployment of the demo. `codes` are the reasons that count as the expected end; empty for a success."""

    name: str
    title: str
    version: str
    expected: State
    codes: frozenset[str]
    budget: Budget
    is_corrupted: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How one deployment ended, over all devices; `active` is the version that runs on each of them afterwards."""

    name: str
    deployment: str
    expected: State
    state: str
    reasons: tuple[Reason, ...]
    active: dict[str, str | None]
    is_as_expected: bool


STEPS = (
    Step(
        "accepted",
        "a better model arrives: calibrated, built, measured and activated",
        "1.0",
        "SUCCEEDED",
        frozenset(),
        Budget(max_top1_drop=0.03, min_agreement=0.9, max_size_bytes=2_000_000),
    ),
    Step(
        "refused",
        "its next version has a budget that no engine here can meet: refused, the first stays",
        "2.0",
        "REJECTED",
        frozenset({"budget"}),
        Budget(max_latency_p99_ms=0.001),
    ),
    Step(
        "corrupted",
        "a version whose bytes were damaged at the source: refused, the first stays",
        "3.0",
        "REJECTED",
        frozenset({"chunk-corrupt", "digest-mismatch"}),
        Budget(),
        is_corrupted=True,
    ),
)


class Scenario:
    """Runs the steps on a fleet. `folder` is for the models and the data that it draws."""

    def __init__(self, fleet: LoopbackFleet, devices: Sequence[str], folder: Path) -> None:
        self._fleet = fleet
        self._devices = tuple(devices)
        self._folder = folder
        self._calibration = folder / "calibration.npz"
        self._evaluation = folder / "evaluation.npz"

    def draw_data(self) -> None:
        write_dataset(self._calibration, CALIBRATION_IMAGES, CALIBRATION_SEED)
        write_dataset(self._evaluation, EVALUATION_IMAGES, EVALUATION_SEED)

    def run(self, step: Step, tell: Tell) -> tuple[Seen, DeploymentView]:
        """Deploy, follow every event until it is over on all devices, and look what runs then.

        Raises:
            Faulty: ``demo-too-slow``, or a process has ended by itself.
        """
        order = self._order(step)
        self._fleet.orders.deploy(MODEL, order, self._devices, time.time())
        view = self._follow(order.deployment, tell)
        active = self._active_after(order.deployment)
        states = {target.state or "" for target in view.devices}
        codes = {target.reason.code for target in view.devices if target.reason is not None}
        is_met = states == {step.expected} and (codes <= step.codes if step.codes else not codes)
        seen = Seen(
            name=step.name,
            deployment=order.deployment,
            expected=step.expected,
            state=states.pop() if len(states) == 1 else "MIXED",
            reasons=tuple(target.reason for target in view.devices if target.reason is not None),
            active=active,
            is_as_expected=is_met and set(active.values()) == {STEPS[0].version},
        )
        return seen, view

    def _order(self, step: Step) -> Order:
        model = self._model(step)
        artifact = pack_model(self._fleet.blobs, model)
        order = Order(
            deployment=new_deployment_id(step.name),
            version=step.version,
            model=artifact,
            model_file=MODEL_NAME,
            recipe="int8",
            calibration=pack_dataset(self._fleet.blobs, self._calibration, model),
            evaluation=pack_dataset(self._fleet.blobs, self._evaluation, model),
            budget=step.budget,
            probation_s=PROBATION_S,
        )
        if step.is_corrupted:
            _damage(self._fleet.blobs.path(artifact.files[MODEL_NAME].digest))
        return order

    def _model(self, step: Step) -> Path:
        """The classifier under the step's version: other bytes, so that each one has to be fetched."""
        import onnx

        source = Path(__file__).with_name("surface_classifier.onnx")
        folder = self._folder / step.version
        folder.mkdir()
        model = onnx.load_model(str(source))
        model.doc_string = f"version {step.version}"
        target = folder / f"{MODEL}.onnx"
        target.write_bytes(model.SerializeToString())
        shutil.copyfile(source.with_suffix(".toml"), target.with_suffix(".toml"))
        return target

    def _follow(self, deployment: str, tell: Tell) -> DeploymentView:
        reports, seen = self._fleet.reports, 0
        deadline = time.monotonic() + STEP_S
        while True:
            view = reports.deployment(deployment)
            for number, event in reports.events(deployment, seen):
                seen = max(seen, number)
                tell(event)
            if all(target.is_over for target in view.devices):
                return view
            self._wait(deadline, f"{deployment} was not over after {STEP_S:.0f} s")

    def _active_after(self, deployment: str) -> dict[str, str | None]:
        """What runs on each device, by a report that knows that `deployment` is over."""
        deadline = time.monotonic() + STEP_S
        while True:
            reports = {view.name: view.reported.models.get(MODEL) if view.reported else None for view in self._fleet.reports.devices()}
            models = {name: report for name, report in reports.items() if report is not None and report.deployment == deployment}
            if models.keys() == set(self._devices) and all(report.state in {"SUCCEEDED", "REJECTED", "FAILED"} for report in models.values()):
                return {name: report.active.version if report.active else None for name, report in models.items()}
            self._wait(deadline, f"the devices did not report what runs after {deployment}")

    def _wait(self, deadline: float, complaint: str) -> None:
        self._fleet.check_alive()
        if time.monotonic() > deadline:
            raise Faulty("demo-too-slow", complaint, "Try again on a machine that does less, and read the logs with --keep DIR")
        time.sleep(POLL_S)


def _damage(blob: Path) -> None:
    """Flip one bit in the middle of a stored blob, as a failing disk does."""
    with blob.open("r+b") as file:
        middle = blob.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 1]))
