"""Commands to devices, through ``fleet serve`` and a real broker; the device is a plain client that answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import Command, Envelope, Event, Reply, Reported, decode, encode

Run = Callable[..., Any]
WHY = Reason("no-previous", "there is no previous engine", "Deploy one", "unfit")


@pytest.fixture(scope="module")
def served(load_fake: Callable[[str], ModuleType], mqtt: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A fleet of ``board-1`` and ``board-2`` that is being served, with the port of its broker as `port`."""
    from edgewright.cli.main import run

    folder = tmp_path_factory.mktemp("served")
    state = folder / "state"
    assert run(["fleet", "keys", "init", "--state", str(state)]) == 0
    with load_fake("serving").ServeProcess(state, "--port", 0) as process:
        process.port, process.state = process.ready["port"], state
        for name in ("board-1", "board-2"):
            assert run(["fleet", "enroll", name, "--state", str(state), "--out", str(folder / name)]) == 0
        process.passwords = {name: (folder / name / "password").read_text().strip() for name in ("board-1", "board-2")}
        yield process


@pytest.fixture
def device(served: Any, mqtt: Any) -> Iterator[Callable[..., Any]]:
    """``device("board-1", reply)`` connects a device that answers each command with `reply`'s fields, or not at all."""
    clients: list[Any] = []

    def connect(name: str, **fields: Any) -> Any:
        client = mqtt.log_in(served.port, name, password=served.passwords[name])
        clients.append(client)
        received = client._message

        def answer(paho: Any, userdata: Any, message: Any) -> None:
            received(paho, userdata, message)
            command = decode(decode(message.payload, Envelope).signed, Command)
            if fields:
                reply = Reply(fleet="fleet", device=name, id=command.id, sequence=command.sequence, **fields)
                paho.publish(f"ew/v1/fleet/{name}/reply", encode(reply), qos=1)

        client._client.on_message = answer
        client.subscribe(f"ew/v1/fleet/{name}/command")
        return client

    yield connect
    for client in clients:
        client.close()


def commands(client: Any) -> list[Command]:
    return [decode(decode(entry.payload, Envelope).signed, Command) for entry in client.heard]


def test_a_device_that_does_it_says_so(edgewright: Run, served: Any, device: Callable[..., Any]) -> None:
    client = device("board-1", ok=True)
    ran = edgewright("fleet", "rollback", "surface", "--device", "board-1", "--state", served.state)

    assert (ran.status, ran.out) == (0, "board-1  done\n")
    assert [(command.verb, command.model, command.deployment) for command in commands(client)] == [("rollback", "surface", None)]


def test_a_refusal_is_told_with_its_reason(edgewright: Run, served: Any, device: Callable[..., Any]) -> None:
    device("board-1", ok=False, reason=WHY)
    device("board-2", ok=True)
    options = ["--device", "board-1", "--device", "board-2", "--state", served.state]
    ran = edgewright("fleet", "release", "surface", *options)
    answers = edgewright("fleet", "release", "surface", *options, "--json").json

    assert ran.status == 1
    assert ran.out.splitlines() == ["board-1  refused: there is no previous engine. Deploy one", "board-2  done"]
    assert answers["verb"] == "release"
    assert [(entry["device"], entry["ok"], entry["reason"] and entry["reason"]["code"]) for entry in answers["replies"]] == [
        ("board-1", False, "no-previous"),
        ("board-2", True, None),
    ]


def test_a_device_that_does_not_answer_is_told_as_such(edgewright: Run, served: Any) -> None:
    ran = edgewright("fleet", "rollback", "m", "--device", "board-2", "--state", served.state, "--wait", "0.05", "--json")

    assert ran.status == 1
    assert ran.json["replies"] == [{"device": "board-2", "ok": None, "reason": None}]
    again = edgewright("fleet", "rollback", "m", "--device", "board-2", "--state", served.state, "--wait", "0.05")
    assert "no answer yet" in again.out


def test_a_deployment_is_cancelled_where_it_is_open(edgewright: Run, served: Any, device: Callable[..., Any], tiny_classifier: Path) -> None:
    clients = {name: device(name, ok=True) for name in ("board-1", "board-2")}
    deployment = edgewright("fleet", "deploy", tiny_classifier, "--state", served.state, "--name", "m", "--json").json["deployment"]
    with closing(Database(FleetPaths(served.state).database)) as database:
        event = Event(
            fleet="fleet", device="board-2", id="e-1", sequence=1, deployment=deployment, model="m", attempt=1, state="SUCCEEDED", time_s=time.time()
        )
        Recorder(database).record(event, time.time())
    ran = edgewright("fleet", "cancel", "--state", served.state)

    assert (ran.status, ran.out) == (0, "board-1  done\n")
    assert [(command.verb, command.deployment) for command in commands(clients["board-1"])] == [("cancel", deployment)]
    assert commands(clients["board-2"]) == []


def test_there_is_nothing_to_cancel_when_all_is_over(edgewright: Run, served: Any, tiny_classifier: Path) -> None:
    deployment = edgewright("fleet", "deploy", tiny_classifier, "--state", served.state, "--name", "over", "--json").json["deployment"]
    edgewright("fleet", "remove", "over", "--state", served.state)
    ran = edgewright("fleet", "cancel", deployment, "--state", served.state)

    assert (ran.status, ran.out) == (0, "nothing to do: it is over on every device\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [(("rollback", "m", "--device", "board-9"), "device-unknown"), (("cancel", "nothing-of-that-name"), "deployment-unknown")],
)
def test_a_name_that_is_not_there_is_one_line(edgewright: Run, served: Any, tiny_classifier: Path, command: tuple[str, ...], code: str) -> None:
    ran = edgewright("fleet", *command, "--state", served.state, "--json")

    assert (ran.status, ran.code) == (1, code)


def test_devices_must_be_named_for_a_rollback(edgewright: Run, served: Any) -> None:
    assert edgewright("fleet", "rollback", "m", "--state", served.state).status == 2


def test_what_devices_say_reaches_the_command_line(edgewright: Run, served: Any, device: Callable[..., Any]) -> None:
    client = device("board-1", ok=True)
    reported = Reported(fleet="fleet", device="board-1", session=1, desired_sequence=3, time_s=1.0, models={}, problems=(WHY,))
    client.publish("ew/v1/fleet/board-1/reported", encode(reported))
    edgewright("fleet", "rollback", "m", "--device", "board-1", "--state", served.state)  # its answer came after the report
    view = edgewright("fleet", "devices", "--state", served.state, "--json").json["devices"][0]

    assert [problem["code"] for problem in view["reported"]["problems"]] == ["no-previous"]
