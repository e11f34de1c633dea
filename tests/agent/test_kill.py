"""Real processes, killed: broker, controller and agent on loopback. Whatever dies, after its restart the deployment comes to the same end."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.agent.inbox import MAX_WINDOW
from edgewright.cli.demo import surface
from edgewright.cli.demo.surface import write_dataset
from edgewright.controller.broker import find_mosquitto
from edgewright.core.wire.frames import chunk_count
from onnx import TensorProto, helper

pytestmark = pytest.mark.slow

WAIT_S = 60.0
SIZE = 1800  # a layer of 1800 × 1800 floats: 13 MB, 110 chunks
ROAD = ["OFFERED", "ACCEPTED", "DOWNLOADING", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED", "ACTIVATING", "PROBATION", "SUCCEEDED"]


BROKERS = ["mosquitto", "amqtt"]
# What does not depend on the broker's kind is killed beside one of them.
ONE_BROKER = pytest.mark.parametrize("fleet", [BROKERS[0] if find_mosquitto() is not None else BROKERS[1]], indirect=True)


@pytest.fixture(scope="module", params=BROKERS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, load_fake: Callable[[str], ModuleType]) -> Iterator[Any]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    if request.param == "amqtt" and importlib.util.find_spec("amqtt") is None:
        pytest.skip("amqtt is not installed: pip install 'edgewright[controller]'")
    with load_fake("killing").KillableFleet(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def until(load_fake: Callable[[str], ModuleType]) -> Callable[..., Any]:
    return load_fake("killing").until


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A model that is large and quick to build; every seed is another one."""

    def make(seed: int) -> Path:
        weights = np.random.default_rng(seed).standard_normal((SIZE, SIZE)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["input", "w"], ["output"])],
            "large",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, SIZE])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, SIZE])],
            [onnx.numpy_helper.from_array(weights, "w")],
        )
        path = tmp_path_factory.mktemp("large") / "model.onnx"
        onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        return path

    return make


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    write_dataset(path, 96, 5)
    return path


CLASSIFIER = Path(surface.__file__).with_name("surface_classifier.onnx")


def chunks_on_disk(state: Path, digest: str) -> set[int]:
    """What the map of a partial blob says that is there, read while nobody runs."""
    marks = (state / "partial" / f"{digest}.map").read_bytes()
    return {index for index in range(len(marks) * 8) if marks[index // 8] >> index % 8 & 1}


def deploy_until_half(fleet: Any, board: Any, model: Path) -> tuple[Any, str]:
    """Deploy, and hold the controller in the middle of the model's chunks; returns the order and the model's digest."""
    before, held = len(fleet.listener.asked), threading.Event()

    def hold_at_half() -> None:
        if len(fleet.listener.asked) - before > 40:
            fleet.pause()
            fleet.listener.on_get = lambda: None
            held.set()

    fleet.listener.on_get = hold_at_half
    order = board.deploy(model)
    assert held.wait(WAIT_S)
    return order, order.model.files["model.onnx"].digest


def test_an_agent_killed_in_the_middle_of_a_download_goes_on_where_it_was(fleet: Any, large_model: Callable[[int], Path]) -> None:
    board = fleet.board("download")
    order, digest = deploy_until_half(fleet, board, large_model(1))
    board.kill()
    count = chunk_count(order.model.files["model.onnx"].size_bytes)
    there = chunks_on_disk(board.state, digest)
    asked = {index for key, index in fleet.listener.asked if key == digest}
    assert 0 < len(there) < count
    assert len(asked - there) <= MAX_WINDOW
    fleet.listener.asked.clear()
    fleet.resume()
    board.start()
    target = board.wait_for_end(order)

    again = {index for key, index in fleet.listener.asked if key == digest}
    assert again == set(range(count)) - there, "nothing that was there is asked for again"
    assert (target.state, target.attempt, board.current()) == ("SUCCEEDED", 1, f"{order.deployment}-1")
    assert [state for state in board.told(order) if state not in {"PAUSED", "DOWNLOADING"}] == [state for state in ROAD if state != "DOWNLOADING"]
    assert board.ask("jobs") == []


def test_a_broker_killed_in_the_middle_of_a_download_costs_one_window(fleet: Any, large_model: Callable[[int], Path]) -> None:
    board = fleet.board("broker")
    order, digest = deploy_until_half(fleet, board, large_model(2))
    fleet.listener.served.clear()
    fleet.kill_broker()
    fleet.resume()
    target = board.wait_for_end(order)
    twice = sum(number - 1 for (key, _), number in fleet.listener.served.items() if key == digest)

    assert (target.state, target.attempt, board.current()) == ("SUCCEEDED", 1, f"{order.deployment}-1")
    assert twice <= MAX_WINDOW
    # Events that were told while the controller had not found the new broker yet are lost; the device's log has them.
    assert "is PAUSED" in fleet.loopback.processes.log(board.name).read_text("utf-8")
    assert board.told(order)[-1] == "SUCCEEDED"


@ONE_BROKER
def test_an_agent_killed_in_the_middle_of_a_calibration_takes_its_worker_along_and_calibrates_again(
    fleet: Any, calibration: Path, until: Callable[..., Any]
) -> None:
    board = fleet.board("calibration")
    order = board.deploy(CLASSIFIER, calibration)
    until(lambda: 0.05 < (board.job().get("progress") or 0.0) < 0.9, "the middle of the calibration")
    workers = children_of(board.process.pid)
    board.kill()
    assert workers
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and is_worker(pid) for pid in workers), "the worker's end")
    board.start()
    target = board.wait_for_end(order)

    assert (target.state, target.attempt, board.current()) == ("SUCCEEDED", 1, f"{order.deployment}-1")
    assert board.told(order) == ROAD
    assert [path for name in ("work", "partial") for path in (board.state / name).iterdir()] == []


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def is_worker(pid: int) -> bool:
    try:
        return b"edgewright.pipeline.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


ONCE = """
import os, pathlib, signal, sys
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
"""


@ONE_BROKER
@pytest.mark.parametrize("verb", ["activate", "health"])
def test_an_agent_killed_between_activation_and_report_comes_to_the_same_end(fleet: Any, calibration: Path, tmp_path: Path, verb: str) -> None:
    """The engine is switched already, and nobody has been told: the owner's own command kills the agent, once."""
    command = json.dumps([sys.executable, "-c", ONCE, str(tmp_path / "mark")])
    board = fleet.board(verb, f"[models.model]\n{verb} = {command}\nhealth_interval_s = 0.1\n")
    order = board.deploy(CLASSIFIER, calibration)
    board.process.wait(60.0)
    assert board.process.returncode == -9
    told = board.told(order)
    assert board.current() == f"{order.deployment}-1", "the application has the new engine"
    assert told[-1] in ({"STAGED", "ACTIVATING"} if verb == "activate" else {"ACTIVATING", "PROBATION"})
    board.start()
    target = board.wait_for_end(order)

    assert (target.state, target.attempt, board.current()) == ("SUCCEEDED", 1, f"{order.deployment}-1")
    assert board.told(order) == ROAD


@ONE_BROKER
def test_a_killed_controller_is_waited_for(fleet: Any, large_model: Callable[[int], Path]) -> None:
    board = fleet.board("patient")
    order, _ = deploy_until_half(fleet, board, large_model(3))
    fleet.controller.kill()
    fleet.controller.wait()
    fleet.serve()
    target = board.wait_for_end(order)

    assert (target.state, board.current()) == ("SUCCEEDED", f"{order.deployment}-1")
