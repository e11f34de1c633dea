from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.controller import database as database_module
from edgewright.controller import hearing
from edgewright.controller import service as module
from edgewright.controller.backlog import Arrival
from edgewright.core.trust import VerifyRequest, verify_envelope
from edgewright.core.wire.frames import CHUNK_BYTES, decode_frame
from edgewright.core.wire.messages import Command, Desired, Event, Get, Message, ModelReport, Order, Reply, Reported, Status, Telemetry, encode
from edgewright.core.wire.topics import topic

MINE, OTHERS = "board-1", "board-2"
WHO = {"fleet": "fleet", "device": MINE}

MakeOrder = Callable[..., Order]
MakeEvent = Callable[..., Event]


@pytest.fixture
def make_controller(load_fake: Callable[[str], ModuleType], broker: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a controller that is not started yet; all are closed with the test."""
    made: list[Any] = []

    def make(**changes: Any) -> Any:
        controller = load_fake("controller").ServingController(tmp_path / "fleet", broker.options(**changes))
        made.append(controller)
        return controller

    yield make
    for controller in made:
        controller.close()
    assert not any(thread.name == "chunks" for thread in threading.enumerate())


@pytest.fixture
def controller(make_controller: Callable[..., Any]) -> Any:
    """A controller that serves."""
    controller = make_controller()
    controller.start()
    return controller


def on(channel: Any, device: str = MINE) -> str:
    return topic("fleet", device, channel)


def status(session: int = 5, *, online: bool = True, device: str = MINE) -> bytes:
    return encode(Status(fleet="fleet", device=device, online=online, boot_id="b", session=session, agent_version="1"))


def verified(controller: Any, payload: bytes, device: str = MINE) -> Any:
    request = VerifyRequest(trust=str(controller.paths.trust), envelope=payload, fleet="fleet", device=device, last_sequence=0, now_s=time.time())
    return verify_envelope(request)


def goal(controller: Any, client: Any, device: str = MINE, *models: str) -> Desired:
    """The first goal for the device with exactly these models."""

    def find() -> Desired | None:
        for entry in client.heard:
            if entry.topic == on("desired", device):
                desired = verified(controller, entry.payload, device).desired
                if sorted(desired.models) == sorted(models):
                    found: Desired = desired
                    return found
        return None

    found: Desired = client.until(find)
    return found


def board(controller: Any, device: str = MINE) -> Any:
    return next(view for view in controller.reports.devices() if view.name == device)


def test_every_device_finds_its_own_signed_goal_at_the_broker(controller: Any, broker: Any) -> None:
    for device in (MINE, OTHERS):
        client = broker.client(device)
        client.subscribe(on("desired", device))

        assert goal(controller, client, device).device == device
    late = broker.client(MINE)
    late.subscribe(on("desired"))
    late.until(lambda: late.heard)

    assert late.heard[0].retain


def test_a_deployment_by_another_process_is_published_at_once(controller: Any, broker: Any, order: MakeOrder) -> None:
    client = broker.client(MINE)
    client.subscribe(on("desired"))
    empty = goal(controller, client)
    controller.orders.deploy("m", order(), [MINE], time.time())
    full = goal(controller, client, MINE, "m")

    assert full.models == {"m": order()}
    assert full.sequence > empty.sequence


def test_a_device_fetches_a_blob_chunk_by_chunk(controller: Any, broker: Any) -> None:
    data = os.urandom(12 * CHUNK_BYTES + 77)
    blob = controller.blobs.add_bytes(data)
    client = broker.client(MINE)
    client.subscribe(on("blob"), qos=0)
    controller.until(lambda: controller.service.is_up)
    for first in (0, 7):
        client.publish(on("get"), encode(Get(**WHO, digest=blob.digest, ranges=((first, first + 6),), window=7)), qos=0)
    client.until(lambda: len(client.heard) >= 13)
    frames = {frame.index: bytes(frame.data) for frame in (decode_frame(entry.payload) for entry in client.heard)}

    assert hashlib.sha256(b"".join(frames[index] for index in sorted(frames))).hexdigest() == blob.digest


def test_a_blob_that_is_not_there_is_told(controller: Any, broker: Any) -> None:
    client = broker.client(MINE)
    client.subscribe(on("blob"), qos=0)
    controller.until(lambda: controller.service.is_up)
    client.publish(on("get"), encode(Get(**WHO, digest="0" * 64, ranges=((0, 3),), window=4)), qos=0)
    client.until(lambda: client.heard)

    assert decode_frame(client.heard[0].payload).is_unknown


def test_what_a_device_says_is_recorded(controller: Any, broker: Any, order: MakeOrder, event: MakeEvent) -> None:
    controller.orders.deploy("m", order(), [MINE], time.time())
    client = broker.client(MINE)
    controller.until(lambda: controller.service.is_up)
    client.publish(on("status"), status(), retain=True)
    client.publish(on("event"), encode(event("DOWNLOADING")))
    client.publish(on("telemetry"), encode(Telemetry(**WHO, time_s=1.0, uptime_s=2.0)), qos=0)
    report = ModelReport(active=None, previous=None, trial=None, deployment="d-1", state="SUCCEEDED", attempt=1)
    client.publish(on("reported"), encode(Reported(**WHO, session=5, desired_sequence=1, time_s=1.0, models={"m": report})), retain=True)
    controller.until(lambda: controller.reports.deployment("d-1").devices[0].state == "SUCCEEDED")

    assert board(controller).online
    assert [entry.state for _, entry in controller.reports.events("d-1")] == ["DOWNLOADING"]


def test_lies_and_noise_are_dropped_and_the_truth_after_them_is_kept(controller: Any, broker: Any, event: MakeEvent) -> None:
    client = broker.client(MINE)
    controller.until(lambda: controller.service.is_up)
    lies = [
        (on("event"), encode(event("OFFERED", device=OTHERS))),
        (on("event"), encode(event("OFFERED", fleet="other"))),
        (on("status"), status(2**53 - 1, device=OTHERS)),
        (on("status"), json.dumps(json.loads(status()) | {"session": 10**40}).encode()),
        (on("event"), b"\xff\x00"),
        (on("reported"), b"{}"),
        (on("telemetry"), encode(event("OFFERED"))),
        (on("reply"), encode(Reply(**WHO, id="never given", sequence=1, ok=True))),
        (on("event"), b""),
    ]
    for name, payload in lies:
        client.publish(name, payload)
    client.publish(on("event"), encode(event("ACCEPTED")))
    controller.until(controller.reports.events)

    assert [(entry.device, entry.state) for _, entry in controller.reports.events()] == [(MINE, "ACCEPTED")]
    assert not board(controller, OTHERS).online


def test_a_command_reaches_its_device_and_the_answer_is_recorded(controller: Any, broker: Any) -> None:
    client = broker.client(MINE)
    client.subscribe(on("command"))
    identity = controller.orders.command(MINE, "cancel", deployment="d-1", model=None, now_s=time.time())
    client.until(lambda: client.heard)
    command = verified(controller, client.heard[0].payload).command
    assert isinstance(command, Command)
    reply = Reply(**WHO, id=command.id, sequence=command.sequence, ok=True)
    client.publish(on("reply"), encode(reply))

    assert controller.until(lambda: controller.reports.reply(identity)) == reply
    assert (command.id, command.verb, command.deployment) == (identity, "cancel", "d-1")


def test_after_a_cut_the_goals_are_published_again_and_presence_is_what_the_broker_says(
    make_controller: Callable[..., Any], broker: Any, order: MakeOrder
) -> None:
    proxy = broker.proxy()
    controller = make_controller(port=proxy.port)
    controller.orders.deploy("m", order(), [MINE], time.time())
    controller.start()
    client, other = broker.client(MINE), broker.client(OTHERS)
    client.subscribe(on("desired"))
    before = goal(controller, client, MINE, "m")
    client.publish(on("status"), status(), retain=True)
    other.publish(on("status", OTHERS), status(device=OTHERS), retain=True)
    controller.until(lambda: board(controller).online and board(controller, OTHERS).online)
    # The broker forgets, and one device dies unseen.
    client.publish(on("status"), status(online=False), retain=True)
    controller.until(lambda: not board(controller).online)
    other.publish(on("status", OTHERS), b"", retain=True)
    client.heard.clear()
    proxy.cut()

    assert goal(controller, client, MINE, "m") == before
    controller.until(lambda: not board(controller, OTHERS).online)
    client.publish(on("status"), status(6), retain=True)
    controller.until(lambda: board(controller).online)


def test_messages_that_found_no_room_are_had_again_when_the_broker_retains_them(
    make_controller: Callable[..., Any], broker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hearing, "MAX_WAITING", 1)
    for device in (MINE, OTHERS):  # one may be taken, one waits, the others are dropped
        for name, payload in ((on("capabilities", device), b"{}"), (on("status", device), status(device=device))):
            broker.client(device).publish(name, payload, retain=True)
    controller = make_controller()
    ear = controller.service._hearing
    parsed = ear._parsed
    first = threading.Event()

    def parse_slowly(name: str, payload: bytes) -> Message | None:
        if not first.is_set():  # until another one was dropped; then there is room
            assert ear._overflowed.wait(20)
            ear._messages._max_count = 100
            first.set()
        return parsed(name, payload)

    monkeypatch.setattr(ear, "_parsed", parse_slowly)
    controller.start()
    controller.until(lambda: board(controller).online and board(controller, OTHERS).online)

    assert "too many wait" in caplog.text


def test_a_database_that_is_locked_for_a_while_loses_nothing_that_is_retained(
    make_controller: Callable[..., Any], broker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS", 10)
    monkeypatch.setattr(hearing, "RETRY_S", 0.1)
    controller = make_controller()
    controller.start()
    client = broker.client(MINE)
    client.subscribe(on("desired"))
    goal(controller, client)
    with closing(sqlite3.connect(controller.paths.database, isolation_level=None, timeout=20)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        client.publish(on("status"), status(), retain=True)
        controller.until(lambda: "database is locked" in caplog.text)
        holder.execute("ROLLBACK")

    assert controller.until(lambda: board(controller).online)


def test_a_flood_of_messages_does_not_keep_goals_from_being_published(
    make_controller: Callable[..., Any], broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = make_controller()
    flood = Arrival(on("telemetry"), encode(Telemetry(**WHO, time_s=1.0, uptime_s=1.0)), 0.0)
    monkeypatch.setattr(controller.service._hearing._messages, "take", lambda most, _wait_s: [flood] * most)
    client = broker.client(MINE)
    client.subscribe(on("desired"))
    controller.start()

    assert goal(controller, client).models == {}


def test_a_broker_that_takes_nothing_more_slows_the_controller_down_and_fills_no_memory(
    make_controller: Callable[..., Any], broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM_S", 0.01)
    controller = make_controller()
    controller.start()
    controller.until(lambda: controller.service.is_up)
    service, sent = controller.service, []
    monkeypatch.setattr(service._link, "publish", lambda name, payload, **_: sent.append(name) or 1)
    taken = [service._send(on("blob"), b"frame", qos=0) for _ in range(module.MAX_IN_FLIGHT + 5)]

    assert taken.count(True) <= module.MAX_IN_FLIGHT
    assert taken[-5:] == [False] * 5
    service.link_published(1)
    assert service._send(on("blob"), b"frame", qos=0)


def test_a_login_that_the_broker_refuses_is_kept_for_whoever_asks(make_controller: Callable[..., Any]) -> None:
    controller = make_controller(password="wrong")
    controller.start()
    problem = controller.until(lambda: controller.service.problem)

    assert problem.code == "broker-refused"
    assert not controller.service.is_up
