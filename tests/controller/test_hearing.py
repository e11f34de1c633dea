from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from edgewright.controller import hearing as module
from edgewright.controller.hearing import Hearing
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import Reports
from edgewright.core.errors import Faulty
from edgewright.core.wire.messages import Event, Message, encode
from edgewright.core.wire.topics import topic

ON_EVENT = topic("fleet", "board-1", "event")
WAIT_S = 20.0


class FailingRecorder:
    """A database that takes nothing (``is_down``), or everything but what `refuses` names. Counts what it was asked."""

    def __init__(self, recorder: Recorder, refuses: str = "", *, is_down: bool = False) -> None:
        self._recorder = recorder
        self.refuses = refuses
        self.is_down = is_down
        self.asked = 0

    def forget_presence(self) -> None:
        self._recorder.forget_presence()

    def can_write(self) -> bool:
        return not self.is_down

    def record(self, message: Message, now_s: float) -> bool:
        return self.record_all([message], now_s) == 1

    def record_all(self, messages: Sequence[Message], now_s: float) -> int:
        self.asked += 1
        if self.is_down or any(isinstance(message, Event) and message.id == self.refuses for message in messages):
            raise Faulty("database-failed", "a value that does not fit", "Wait")
        return self._recorder.record_all(messages, now_s)


@pytest.fixture
def hear(broker: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hearing]]:
    """Opens the recorder's connection; what it keeps at the broker goes with the test."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(module, "POLL_S", 0.02)
    options, made = replace(broker.options(), client_id="fleet_recorder", keeps_session=True), list[Hearing]()

    def make(other: Any = None) -> Hearing:
        hearing = Hearing("fleet", other or recorder, options)
        made.append(hearing)
        hearing.open()
        drain(hearing, lambda: hearing.is_up)
        return hearing

    yield make
    for hearing in made:
        hearing.close()
    broker.client(client_id="fleet_recorder", clean=True)


def drain(hearing: Hearing, until: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not until():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        hearing.drain()


def states(reports: Reports) -> list[str]:
    return [entry.state for _, entry in reports.events()]


@pytest.mark.parametrize("running_broker", ["mosquitto"], indirect=True)  # amqtt forgets what was sent and not acknowledged
def test_what_was_heard_and_not_committed_is_its_successors(
    hear: Callable[..., Hearing], broker: Any, recorder: Recorder, reports: Reports, event: Callable[..., Event]
) -> None:
    """The first one's database fails until it dies: the broker must not take its word for anything."""
    failing = FailingRecorder(recorder, is_down=True)
    first = hear(failing)
    broker.client("board-1").publish(ON_EVENT, encode(event("ACCEPTED")))
    drain(first, lambda: failing.asked)
    first.leave()
    assert states(reports) == []
    drain(hear(), lambda: states(reports))

    assert states(reports) == ["ACCEPTED"]


@pytest.mark.parametrize("running_broker", ["mosquitto"], indirect=True)  # amqtt loses some of what is said to a client that is away
def test_what_is_said_while_nobody_hears_waits_at_the_broker(
    hear: Callable[..., Hearing], broker: Any, reports: Reports, event: Callable[..., Event]
) -> None:
    hear().leave()
    client = broker.client("board-1")
    for state in ("OFFERED", "ACCEPTED", "FAILED"):
        client.publish(ON_EVENT, encode(event(state)))
    drain(hear(), lambda: len(states(reports)) == 3)

    assert sorted(states(reports)) == ["ACCEPTED", "FAILED", "OFFERED"]


def test_what_was_committed_is_not_sent_again(
    hear: Callable[..., Hearing], broker: Any, recorder: Recorder, reports: Reports, event: Callable[..., Event]
) -> None:
    first, client = hear(), broker.client("board-1")
    client.publish(ON_EVENT, encode(event("OFFERED")))
    drain(first, lambda: states(reports))
    first.leave()
    counting = FailingRecorder(recorder)
    second = hear(counting)
    client.publish(ON_EVENT, encode(event("ACCEPTED")))
    drain(second, lambda: len(states(reports)) == 2)

    assert counting.asked == 1


def test_a_database_that_is_down_for_a_while_loses_nothing(
    hear: Callable[..., Hearing], broker: Any, recorder: Recorder, reports: Reports, event: Callable[..., Event]
) -> None:
    failing = FailingRecorder(recorder, is_down=True)
    hearing, client = hear(failing), broker.client("board-1")
    for state in ("OFFERED", "ACCEPTED"):
        client.publish(ON_EVENT, encode(event(state)))
    drain(hearing, lambda: failing.asked > 2 * module.TRIES)
    failing.is_down = False
    drain(hearing, lambda: len(states(reports)) == 2)

    assert sorted(states(reports)) == ["ACCEPTED", "OFFERED"]


def test_a_message_that_no_database_takes_holds_nothing_else_up(
    hear: Callable[..., Hearing], broker: Any, recorder: Recorder, reports: Reports, event: Callable[..., Event], caplog: pytest.LogCaptureFixture
) -> None:
    bad = event("OFFERED")
    hearing, client = hear(FailingRecorder(recorder, refuses=bad.id)), broker.client("board-1")
    for entry in (bad, event("ACCEPTED"), event("FAILED")):
        client.publish(ON_EVENT, encode(entry))
    drain(hearing, lambda: len(states(reports)) == 2)

    assert sorted(states(reports)) == ["ACCEPTED", "FAILED"]
    assert "Dropped a Event that cannot be recorded" in caplog.text
