"""The daemon's loop, on a fake link: what arrives is done in turn, timers are kept, and no error ends it. Real processes are in `test_kill`."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from edgewright.agent import daemon as daemon_module
from edgewright.agent import session as session_module
from edgewright.agent import steps
from edgewright.agent.daemon import Daemon
from edgewright.agent.steps import DeviceFacts
from edgewright.core.errors import Reason, Rejected, Unfit
from edgewright.core.trust import Verified, VerifyRequest
from edgewright.core.wire.messages import Capabilities, Command, Desired, Event, Get, Reply, Reported, Runtime, Status, Telemetry, decode
from edgewright.core.wire.traffic import Traffic

WAIT_S = 30.0


class FakeLink:
    """Stands where `Link` is. `sent` grows; `wait_for` waits until something in it is as wanted."""

    made: FakeLink

    def __init__(self, options: Any, handler: Any, _subscriptions: Any, next_will: Callable[[], Any]) -> None:
        FakeLink.made = self
        self.options, self.handler, self.next_will = options, handler, next_will
        self.will = next_will()
        self.is_connected = False
        self.is_alive = True
        self.traffic = Traffic(2_000_000, 3_000_000)
        self.sent: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.is_connected = False

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        if not self.is_connected:
            return None
        with self._changed:
            self.sent.append((topic.rpartition("/")[2], payload))
            self._changed.notify_all()
            mid = len(self.sent)
        if qos:
            self.handler.link_published(mid)
        return mid

    def connect(self) -> None:
        self.is_connected = True
        self.handler.link_up()

    def lose(self) -> None:
        self.is_connected = False
        self.will = self.next_will()
        self.handler.link_down("gone")

    def wait_for(self, channel: str, kind: Any, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first message on `channel` that is as wanted."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while True:
                for name, payload in self.sent:
                    if name == channel and wanted(message := decode(payload, kind)):
                        return message
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"no such {channel}: {[name for name, _ in self.sent]}"
                self._changed.wait(left_s)

    def receive(self, channel: str, payload: bytes) -> None:
        self.handler.link_message(f"ew/v1/fleet/board-1/{channel}", payload)


@pytest.fixture
def facts() -> DeviceFacts:
    return DeviceFacts("board", "cpu", (Runtime(name="onnxruntime", usable=True, version="1"),), ())


@pytest.fixture
def run_daemon(device: Any, monkeypatch: pytest.MonkeyPatch, facts: DeviceFacts) -> Callable[..., Any]:
    """Run a daemon on the device's state folder, with its fake steps and controller; the context is left when it has ended."""
    monkeypatch.setattr(session_module, "Link", FakeLink)
    monkeypatch.setattr(steps, "look_at_device", lambda _cancel: facts)
    monkeypatch.setattr(steps, "WorkerSteps", lambda _config, _store: device.steps)
    monkeypatch.setattr(steps, "verify", verify)
    monkeypatch.setattr(daemon_module, "REPORT_INTERVAL_S", 0.05)
    device.crashed()

    @contextmanager
    def running(**changes: Any) -> Iterator[tuple[Daemon, FakeLink]]:
        import dataclasses

        daemon = Daemon(dataclasses.replace(device.config, **changes))
        device.store = daemon.deployer.parts.store
        thread = threading.Thread(target=daemon.run, name="daemon")
        thread.start()
        try:
            yield daemon, FakeLink.made
        finally:
            daemon.stop()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    return running


def verify(request: VerifyRequest, _cancel: Any) -> Verified:
    """Stands where the worker child is: what is said is believed, but for what says that it is bad."""
    if request.envelope.startswith(b"bad"):
        raise Rejected("signature-invalid", "it is not signed", "Sign it")
    verified = msgspec.json.decode(request.envelope, type=Verified)
    content = verified.desired or verified.command
    assert content is not None
    if content.sequence <= request.last_sequence:
        raise Rejected("envelope-replayed", "it is old", "")
    return verified


def goal(sequence: int, **models: Any) -> bytes:
    content = Desired(fleet="fleet", device="board-1", sequence=sequence, issued_s=1.0, expires_s=2.0, models=models)
    return msgspec.json.encode(Verified(desired=content))


def command(verb: Any, sequence: int, **fields: Any) -> bytes:
    content = Command(fleet="fleet", device="board-1", sequence=sequence, issued_s=1.0, expires_s=2.0, id=f"c{sequence}", verb=verb, **fields)
    return msgspec.json.encode(Verified(command=content))


def serve(device: Any, link: FakeLink) -> None:
    """The controller's chunk service: answers every request, on the publishing thread, as a broker would."""
    publish = link.publish

    def published(topic: str, payload: bytes, **options: Any) -> int | None:
        mid = publish(topic, payload, **options)
        if topic.endswith("/get") and mid is not None:
            for frame in device.source.frames(decode(payload, Get)):
                link.receive("blob", frame)
        return mid

    link.publish = published


def test_a_connection_announces_everything(run_daemon: Any, facts: DeviceFacts) -> None:
    with run_daemon() as (_daemon, link):
        link.connect()
        status = link.wait_for("status", Status)
        reported = link.wait_for("reported", Reported)
        capabilities = link.wait_for("capabilities", Capabilities)
    goodbye = [decode(payload, Status) for name, payload in link.sent if name == "status"][-1]

    assert (status.online, goodbye.online, goodbye.session) == (True, False, status.session)
    assert (reported.session, capabilities.backends) == (status.session, facts.backends)


def test_a_goal_that_arrives_is_carried_out_and_told(run_daemon: Any, device: Any) -> None:
    with run_daemon() as (_daemon, link):
        serve(device, link)
        link.connect()
        link.receive("desired", goal(1, surface=device.order("d1", probation_s=0.0)))
        link.wait_for("event", Event, lambda event: event.state == "SUCCEEDED")
        report = link.wait_for("reported", Reported, lambda report: report.models and report.models["surface"].active is not None)
        events = [decode(payload, Event) for name, payload in link.sent if name == "event"]

    first = events[0].sequence
    assert [event.sequence - first for event in events] == list(range(11))
    assert (report.desired_sequence, report.models["surface"].active.deployment) == (1, "d1")
    assert len(list((device.state / "outbox").iterdir())) == 0


def test_events_of_a_time_without_a_connection_are_told_when_it_is_back(run_daemon: Any, device: Any) -> None:
    with run_daemon() as (daemon, link):
        done = threading.Event()
        order = device.order("d1")
        daemon.post(
            lambda: (
                daemon._want(Desired(fleet="fleet", device="board-1", sequence=1, issued_s=1.0, expires_s=2.0, models={"m": order}), "x"),
                done.set(),
            )
        )
        assert done.wait(WAIT_S)
        assert link.sent == []
        serve(device, link)
        link.connect()
        link.wait_for("event", Event, lambda event: event.state == "DOWNLOADING")
        states = [decode(payload, Event).state for name, payload in link.sent if name == "event"]

    assert states[:2] == ["OFFERED", "ACCEPTED"]


def test_a_refused_goal_is_a_problem_in_the_report(run_daemon: Any) -> None:
    with run_daemon() as (_daemon, link):
        link.connect()
        link.receive("desired", b"bad")
        report = link.wait_for("reported", Reported, lambda report: report.problems)
        link.receive("desired", goal(1))
        link.wait_for("reported", Reported, lambda report: report.desired_sequence == 1 and not report.problems)

    assert [problem.code for problem in report.problems] == ["signature-invalid"]


def test_two_goals_that_arrive_together_leave_the_newer_one(run_daemon: Any, device: Any) -> None:
    """Both are verified against what was accepted when they came; the older one must not win by being later."""
    with run_daemon() as (daemon, link):
        link.connect()
        gate = threading.Event()
        daemon.post(lambda: gate.wait(WAIT_S))  # both are in the queue before the loop looks
        link.receive("desired", goal(6, newer=device.order("d6")))
        link.receive("desired", goal(5, older=device.order("d5")))
        gate.set()
        link.wait_for("reported", Reported, lambda report: any(problem.code == "envelope-replayed" for problem in report.problems))
        report = link.wait_for("reported", Reported, lambda report: report.desired_sequence == 6)

    assert list(report.models) == ["newer"]


def test_a_command_is_answered(run_daemon: Any) -> None:
    with run_daemon() as (_daemon, link):
        link.connect()
        link.receive("command", command("report", 1))
        good = link.wait_for("reply", Reply)
        link.receive("command", command("rollback", 2, model="absent"))
        bad = link.wait_for("reply", Reply, lambda reply: not reply.ok)

    assert (good.id, good.sequence, good.ok, good.reason) == ("c1", 1, True, None)
    assert (bad.id, bad.reason.code) == ("c2", "model-unknown")


def test_telemetry_is_sent_at_its_interval(run_daemon: Any, device: Any) -> None:
    with run_daemon(telemetry=msgspec.structs.replace(device.config.telemetry, interval_s=0.05)) as (_daemon, link):
        link.connect()
        message = link.wait_for("telemetry", Telemetry)

    assert message.uptime_s > 0
    assert message.power_reason


def test_without_an_interval_there_is_no_telemetry_and_nothing_to_wait_for(run_daemon: Any, device: Any) -> None:
    with run_daemon(telemetry=msgspec.structs.replace(device.config.telemetry, interval_s=0.0)) as (daemon, link):
        link.connect()
        link.wait_for("capabilities", Capabilities)
        link.wait_for("reported", Reported)
        rested = threading.Event()
        daemon.post(rested.set)
        assert rested.wait(WAIT_S)
        waits = [due_s for due_s, _ in daemon._due()]

    assert [wait for wait in waits[:4] if wait is not None] == []


def test_the_link_s_problem_is_in_the_report_until_it_is_up(run_daemon: Any) -> None:
    with run_daemon() as (daemon, link):
        daemon.session.link_problem(Reason("broker-refused", "no", "Check it", "rejected"))
        asked = threading.Event()
        seen: list[str] = []
        daemon.post(lambda: (seen.extend(problem.code for problem in daemon.all_problems()), asked.set()))
        assert asked.wait(WAIT_S)
        link.connect()
        report = link.wait_for("reported", Reported)

    assert (seen, report.problems) == (["broker-refused"], ())


def test_a_device_that_cannot_be_looked_at_says_so(run_daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_cancel: Any) -> DeviceFacts:
        raise Unfit("out-of-memory", "no memory", "Free some")

    monkeypatch.setattr(steps, "look_at_device", fail)
    with run_daemon() as (_daemon, link):
        link.connect()
        report = link.wait_for("reported", Reported, lambda report: report.problems)

    assert [problem.code for problem in report.problems] == ["out-of-memory"]


def test_no_error_ends_the_loop(run_daemon: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ValueError("nobody expected this")

    def refused(*_: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free it")

    with run_daemon() as (daemon, link), caplog.at_level(logging.WARNING):
        daemon.post(broken)
        daemon.post(refused)
        daemon.deployer.downloads.pump = broken
        turns = itertools.count()
        daemon.deployer.downloads.next_timeout_s = lambda: 0.0 if next(turns) < 4 else None
        link.connect()
        link.wait_for("reported", Reported)

    assert "nobody expected this" in caplog.text
    assert "the disk is full" in caplog.text


def test_a_lost_connection_pauses_and_its_return_resumes(run_daemon: Any, device: Any) -> None:
    with run_daemon() as (_daemon, link):
        link.connect()
        link.receive("desired", goal(1, surface=device.order("d1", probation_s=0.0)))
        link.wait_for("get", Get)
        link.lose()
        serve(device, link)
        link.connect()
        link.wait_for("event", Event, lambda event: event.state == "SUCCEEDED")
        states = [decode(payload, Event).state for name, payload in link.sent if name == "event"]

    assert states[2:5] == ["DOWNLOADING", "PAUSED", "DOWNLOADING"]


def test_stopping_in_the_middle_loses_nothing(run_daemon: Any, device: Any) -> None:
    building = threading.Event()
    build = device.steps.build

    def slow(*arguments: Any) -> Any:
        building.set()
        assert arguments[-1].wait(WAIT_S), "it is told to end"
        raise Unfit("cancelled", "cancelled", "")

    device.steps.build = slow
    with run_daemon() as (_daemon, link):
        serve(device, link)
        link.connect()
        link.receive("desired", goal(1, surface=device.order("d1", probation_s=0.0)))
        assert building.wait(WAIT_S)
    assert device.on_disk() == "OPTIMIZING"
    device.steps.build = build
    with run_daemon() as (_daemon, link):
        serve(device, link)
        link.connect()
        last = link.wait_for("event", Event, lambda event: event.state == "SUCCEEDED")

    assert (last.attempt, device.current()) == (1, "d1-1")


def test_a_second_daemon_is_kept_out_of_the_same_state(run_daemon: Any, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.agent.state.WAIT_S", 0.0)
    with run_daemon(), pytest.raises(Unfit) as caught:
        Daemon(device.config)

    assert caught.value.code == "state-locked"
