"""Builds as a fleet sees them: how far they are, how they are cancelled, and what a new JetPack does. Real processes on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import edgewright
import pytest
from edgewright.cli.demo.loopback import FLEET, LoopbackFleet
from edgewright.cli.demo.processes import Processes
from edgewright.controller.enrollment import Address, enroll
from edgewright.controller.orders import new_deployment_id
from edgewright.controller.packing import MODEL_NAME, pack_model
from edgewright.controller.reports import TargetView
from edgewright.core.wire.messages import ModelReport, Order
from edgewright.engines.manifest import read_manifest

DEVICE = "board"
WAIT_S = 60.0
OLD = "R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic"
NEW = "R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic"

T = TypeVar("T")


@dataclass
class Board:
    """A fleet with one board, whose agent may be stopped and started, and whose JetPack may change meanwhile."""

    fleet: LoopbackFleet
    folder: Path
    release: Path
    config: Path
    agents: Processes | None = field(default=None)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @contextmanager
    def running(self, release: str) -> Iterator[None]:
        self.release.write_text(release, encoding="utf-8")
        with Processes(self.folder) as agents:
            self.agents = agents
            agents.start(DEVICE, "agent", "run", "--config", str(self.config))
            self.until(lambda: self.fleet.reports.devices()[0].online or None, "the agent")
            yield

    def order(self, name: str, model: Path) -> str:
        order = Order(
            deployment=new_deployment_id(name),
            version="1",
            model=pack_model(self.fleet.blobs, model),
            model_file=MODEL_NAME,
            recipe="none",
            probation_s=0.1,
        )
        self.fleet.orders.deploy(name, order, [DEVICE], time.time())
        return order.deployment

    def target(self, deployment: str) -> TargetView:
        (target,) = self.fleet.reports.deployment(deployment).devices
        return target

    def report(self, name: str) -> ModelReport | None:
        (view,) = self.fleet.reports.devices()
        return view.reported.models.get(name) if view.reported else None

    def until(self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + WAIT_S
        while (found := look()) is None:
            self.fleet.check_alive()
            assert time.monotonic() < deadline, f"{what}: {self.agents.last_words(DEVICE) if self.agents else ''}"
            time.sleep(0.05)  # what is waited for happens in other processes
        return found


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("board")
    release = folder / "release"
    with pytest.MonkeyPatch.context() as patch, LoopbackFleet(folder / "fleet") as fleet:
        served = fleet.serve("auto")
        enroll(fleet.paths, fleet.orders, FLEET, DEVICE, folder / "enrolled", Address(served.host, served.port), folder / "state")
        config = folder / "enrolled" / "agent.toml"
        with config.open("a", encoding="utf-8") as file:
            file.write("\n[optimize]\nbench_seconds = 0.1\n")
        patch.setenv("PYTHONPATH", str(project_root / "tests" / "fakes" / "jetpack"))
        patch.setenv("EDGEWRIGHT_FAKE_RELEASE", str(release))
        yield Board(fleet, folder, release, config)


def test_a_running_build_is_seen_and_cancelled_and_leaves_nothing(board: Board, models: ModuleType, tmp_path: Path) -> None:
    model = models.save(models.slow(400), tmp_path / "slow.onnx")
    with board.running(OLD):
        deployment = board.order("slow", model)
        seen = board.until(lambda: found if (found := board.target(deployment)).progress is not None else None, "the build")
        board.fleet.orders.command(DEVICE, "cancel", deployment=deployment, model=None, now_s=time.time())
        ended = board.until(lambda: found if (found := board.target(deployment)).is_over else None, "the end")
        left = list((board.state / "work").glob("*"))

    assert (seen.state, seen.progress_note != "") == ("OPTIMIZING", True)
    assert seen.progress is not None
    assert 0 <= seen.progress < 1
    assert (ended.state, ended.progress) == ("CANCELED", None)
    assert left == []


def test_a_new_jetpack_is_noticed_at_the_start_and_the_old_engine_stays_as_the_fallback(
    board: Board, tiny_classifier: Path, models: ModuleType
) -> None:
    with board.running(OLD):
        deployment = board.order("tiny", tiny_classifier)
        first = board.until(lambda: found if (found := board.target(deployment)).is_over else None, "the first build")
        with edgewright.open("tiny", state=board.state) as application:
            before = application.infer({"input": models.samples(1)})["logits"]
    with board.running(NEW):

        def rebuilt() -> ModelReport | None:
            report = board.report("tiny")
            return report if report is not None and report.attempt == 2 and report.state == "SUCCEEDED" else None

        report = board.until(rebuilt, "the second build")
        engines = board.state / "models" / "tiny"
        now, old = read_manifest(engines / "current"), read_manifest(engines / "engines" / f"{deployment}-1")
        with edgewright.open("tiny", state=board.state) as application:
            after = application.infer({"input": models.samples(1)})["logits"]
    reasons = [event.reason.code for _, event in board.fleet.reports.events(deployment) if event.reason is not None]

    assert first.state == "SUCCEEDED", first.reason
    assert reasons == ["runtime-changed"]
    assert report.previous is not None
    assert report.active is not None
    assert report.active.since_s > report.previous.since_s
    assert (old.key.driver, now.key.driver) == (OLD.strip(), NEW.strip())
    assert old.fingerprint != now.fingerprint
    assert before.tolist() == after.tolist()
