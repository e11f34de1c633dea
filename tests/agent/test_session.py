"""The MQTT session on a fake link: what is announced, under which number, and where what arrives goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgewright.agent import session as session_module
from edgewright.agent.config import BrokerSection
from edgewright.agent.inbox import Request
from edgewright.agent.session import SESSIONS_PER_START, Arrivals, Session, link_options
from edgewright.core.errors import Reason, Rejected
from edgewright.core.measurement import Candidate
from edgewright.core.wire.link import Will
from edgewright.core.wire.messages import Event, Get, Measurement, ModelReport, Reported, Status, decode, encode


class FakeLink:
    """Stands where `Link` is; is asked for a will once per connection, as the real one does."""

    made: FakeLink

    def __init__(self, options: Any, handler: Any, subscriptions: list[tuple[str, int]], next_will: Callable[[], Will]) -> None:
        FakeLink.made = self
        self.options, self.handler, self.subscriptions = options, handler, subscriptions
        self._next_will = next_will
        self.will = next_will()
        self.is_connected = False
        self.sent: list[tuple[str, bytes, int, bool]] = []
        self.did: list[str] = []

    def start(self) -> None:
        self.did.append("start")

    def stop(self) -> None:
        self.did.append("stop")

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        if not self.is_connected:
            return None
        self.sent.append((topic, payload, qos, retain))
        return len(self.sent)

    def subscribe(self, topic: str, qos: int) -> None:
        self.did.append(f"subscribe {topic} {qos}")

    def unsubscribe(self, topic: str) -> None:
        self.did.append(f"unsubscribe {topic}")

    def connect(self) -> None:
        self.is_connected = True
        self.handler.link_up()

    def lose(self) -> None:
        self.is_connected = False
        self.will = self._next_will()
        self.handler.link_down("gone")


class Heard:
    """The loop: calls at once, and remembers."""

    def __init__(self) -> None:
        self.what: list[tuple[Any, ...]] = []
        self.arrivals = Arrivals(*(self._hear(name) for name in ("up", "down", "envelope", "blob", "published", "problem")))

    def _hear(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.what.append((name, *arguments))

    @staticmethod
    def post(call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def session(heard: Heard, monkeypatch: pytest.MonkeyPatch, device: Any) -> Session:
    monkeypatch.setattr(session_module, "Link", FakeLink)
    return Session("fleet", "board-1", link_options(device.config), "boot", 3, heard.arrivals, heard.post)


def reported(**models: ModelReport) -> Reported:
    return Reported(fleet="fleet", device="board-1", session=1, desired_sequence=0, time_s=1.0, models=models)


def test_three_topics_are_read_each_by_its_name(session: Session) -> None:
    assert FakeLink.made.subscriptions == [
        ("ew/v1/fleet/board-1/desired", 1),
        ("ew/v1/fleet/board-1/command", 1),
        ("ew/v1/fleet/board-1/blob", 0),
    ]


def test_every_connection_has_a_number_and_its_will_bears_it(session: Session) -> None:
    link, numbers = FakeLink.made, []
    for _ in range(3):
        will = decode(link.will.payload, Status)
        link.connect()
        session.announce(None)
        status = decode(link.sent[-1][1], Status)
        assert (will.online, status.online, will.session, status.boot_id) == (False, True, status.session, "boot")
        numbers.append(status.session)
        link.lose()

    assert numbers == [3 * SESSIONS_PER_START + number for number in (1, 2, 3)]


def test_a_later_start_has_higher_numbers_than_any_before(heard: Heard, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "Link", FakeLink)
    options = link_options(device.config)
    numbers = [Session("f", "d", options, "b", start, heard.arrivals, heard.post).number for start in (1, 2, 3)]

    assert numbers == sorted(numbers)
    assert numbers[1] - numbers[0] == SESSIONS_PER_START


def test_state_is_retained_and_events_are_not(session: Session) -> None:
    link = FakeLink.made
    link.connect()
    session.announce(None)
    session.report(reported())
    session.publish_event(b"event")
    session.ask(Request("0" * 64, ((0, 3), (5, 5)), 5))

    assert [(topic.rpartition("/")[2], qos, retain) for topic, _, qos, retain in link.sent] == [
        ("status", 1, True),
        ("reported", 1, True),
        ("event", 1, False),
        ("get", 0, False),
    ]
    get = decode(link.sent[-1][1], Get)
    assert (get.digest, get.ranges, get.window) == ("0" * 64, ((0, 3), (5, 5)), 5)


def test_without_a_connection_nothing_counts_as_sent(session: Session) -> None:
    assert not session.is_connected
    assert not session.ask(Request("0" * 64, ((0, 0),), 1))
    assert session.publish_event(b"event") is None
    session.announce(None)
    session.report(reported())

    assert FakeLink.made.sent == []


def test_a_report_that_is_too_long_goes_without_its_measurements(session: Session) -> None:
    link = FakeLink.made
    link.connect()
    candidate = Candidate(name="x" * 500, backend="b", path="p", size_bytes=1, latency_ms=None, energy_mj=None, fidelity=None)
    report = ModelReport(
        active=None, previous=None, trial=None, deployment="d", measurement=Measurement(chosen=candidate, baseline=candidate, verdict=None)
    )
    session.report(reported(**{f"m{number}": report for number in range(150)}))

    sent = decode(link.sent[-1][1], Reported)
    assert len(sent.models) == 150
    assert {entry.measurement for entry in sent.models.values()} == {None}


def test_a_short_report_keeps_its_measurements(session: Session) -> None:
    link = FakeLink.made
    link.connect()
    report = ModelReport(active=None, previous=None, trial=None, deployment="d", measurement=Measurement(chosen=None, baseline=None, verdict=None))
    session.report(reported(m=report))

    assert decode(link.sent[-1][1], Reported).models["m"].measurement == Measurement(chosen=None, baseline=None, verdict=None)


def test_what_arrives_goes_where_it_belongs(session: Session, heard: Heard) -> None:
    base = "ew/v1/fleet/board-1/"
    problem = Reason("a", "b", "c")
    FakeLink.made.connect()
    session.link_message(base + "desired", b"goal")
    session.link_message(base + "command", b"order")
    session.link_message(base + "blob", b"frame")
    session.link_message(base + "desired", b"")  # a retained message that was deleted
    session.link_message(base + "other", b"x")
    session.link_published(5)
    session.link_problem(problem)
    FakeLink.made.lose()

    assert heard.what == [
        ("up",),
        ("envelope", "desired", b"goal"),
        ("envelope", "command", b"order"),
        ("blob", b"frame"),
        ("published", 5),
        ("problem", problem),
        ("down",),
    ]


def test_a_goodbye_is_said_before_the_link_is_stopped(session: Session) -> None:
    link = FakeLink.made
    session.start()
    link.connect()
    session.stop()

    assert decode(link.sent[-1][1], Status).online is False
    assert link.did == ["start", "stop"]


def test_an_event_goes_as_it_lies_in_the_outbox(session: Session) -> None:
    FakeLink.made.connect()
    event = Event(fleet="f", device="d", id="d-1", sequence=1, deployment="x", model="m", attempt=1, state="OFFERED", time_s=1.0)
    session.publish_event(encode(event))

    assert decode(FakeLink.made.sent[-1][1], Event) == event


# --- how to reach the broker ---


def configured(device: Any, **broker: Any) -> Any:
    import dataclasses

    return dataclasses.replace(device.config, broker=msgspec.structs.replace(device.config.broker, **broker))


def test_the_password_is_read_from_its_file(device: Any) -> None:
    (device.state / "password").write_text("s3cret\n")
    options = link_options(configured(device, username="board-1", password_file="password", keepalive_s=7))

    assert (options.username, options.password, options.keepalive_s, options.host) == ("board-1", "s3cret", 7, "127.0.0.1")
    assert options.tls is None


@pytest.mark.parametrize("data", [None, b"\xff\xfe"])
def test_a_password_file_that_cannot_be_read_is_the_configuration_s_fault(device: Any, data: bytes | None) -> None:
    if data is not None:
        (device.state / "password").write_bytes(data)
    with pytest.raises(Rejected) as caught:
        link_options(configured(device, password_file="password"))

    assert (caught.value.code, "password" in caught.value.message) == ("config-bad-value", True)


def test_tls_files_are_looked_for_at_the_start(device: Any) -> None:
    files = {"tls_ca": "ca.pem", "tls_certificate": "me.pem", "tls_key": "me.key"}
    for name in files.values():
        with pytest.raises(Rejected, match=name):
            link_options(configured(device, **files))
        Path(device.state / name).touch()
    options = link_options(configured(device, **files))

    assert options.tls is not None
    assert (options.tls.ca, options.tls.certificate, options.tls.key) == tuple(device.state / name for name in files.values())


def test_the_default_broker_section_needs_a_host_only() -> None:
    assert BrokerSection(host="h").port == 8883


def test_while_it_listens_it_is_subscribed_to_the_broadcast_and_to_one_alone(session: Session, heard: Heard) -> None:
    one, other = ("ew/v1/fleet/_all/blob/" + letter * 64 for letter in "ab")
    FakeLink.made.connect()
    for request in (Request("a" * 64, (), 0, heard=0), Request("a" * 64, (), 0, heard=8), Request("b" * 64, (), 0, heard=0)):
        assert session.ask(request)
    session.link_message(other, b"chunk")
    session.link_message(one, b"late")
    assert session.ask(Request("b" * 64, ((3, 4),), 2))
    gets = [decode(payload, Get) for _, payload, _, _ in FakeLink.made.sent[-4:]]

    assert FakeLink.made.did == [f"subscribe {one} 0", f"unsubscribe {one}", f"subscribe {other} 0", f"unsubscribe {other}"]
    assert [(get.heard, get.ranges) for get in gets] == [(0, ()), (8, ()), (0, ()), (None, ((3, 4),))]
    assert [what for what in heard.what if what[0] == "blob"] == [("blob", b"chunk")]


def test_a_request_for_nothing_ends_the_listening_and_sends_nothing(session: Session) -> None:
    FakeLink.made.connect()
    session.ask(Request("a" * 64, (), 0, heard=0))
    before = len(FakeLink.made.sent)

    assert session.ask(Request("a" * 64, (), 0))
    assert len(FakeLink.made.sent) == before
    assert FakeLink.made.did[-1].startswith("unsubscribe")
