"""The health message: at once while the link is up, from the spool after an outage, none of it lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.telemetry import TelemetrySource
from edgewright.core.wire.messages import Telemetry, decode, encode
from edgewright.core.wire.traffic import Traffic


class FakeSession:
    """The part of a session that says telemetry."""

    fleet, device = "fleet", "board-1"
    traffic = Traffic(2_000_000, 3_000_000)

    def __init__(self) -> None:
        self.is_up = False
        self.said: list[Telemetry] = []
        self.spooled: list[Telemetry] = []

    def publish(self, channel: str, message: Telemetry) -> int | None:
        assert channel == "telemetry"
        if not self.is_up:
            return None
        self.said.append(decode(encode(message), Telemetry))
        return len(self.said)

    def publish_telemetry(self, payload: bytes) -> int | None:
        if not self.is_up:
            return None
        self.spooled.append(decode(payload, Telemetry))
        return 1000 + len(self.spooled)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


def source(state: Path, session: Any, clock: Any, start: int = 1) -> TelemetrySource:
    return TelemetrySource(state, start, 60.0, session, clock.clock_s, clock.monotonic_s)


def pass_an_hour(telemetry: TelemetrySource, clock: Any) -> None:
    for _ in range(60):
        clock.pass_s(60.0)
        assert telemetry.due_s is not None
        assert telemetry.due_s <= clock.monotonic_s()
        telemetry.turn()


def deliver(telemetry: TelemetrySource, session: FakeSession) -> None:
    """Everything that is handed over is acknowledged."""
    known = 0
    while True:
        telemetry.flush()
        if known == len(session.spooled):
            return
        for number in range(known, len(session.spooled)):
            assert telemetry.spool.acknowledged(1001 + number)
        known = len(session.spooled)


def test_an_hour_offline_is_told_without_a_gap(tmp_path: Path, session: FakeSession, fake_device: Any) -> None:
    clock = fake_device.FakeClock()
    telemetry = source(tmp_path, session, clock)
    pass_an_hour(telemetry, clock)
    assert (session.said, len(telemetry.spool)) == ([], 60)
    session.is_up = True
    deliver(telemetry, session)

    times = [message.time_s for message in session.spooled]
    assert times == [clock.clock_s() - 60.0 * (59 - number) for number in range(60)]
    assert (len(telemetry.spool), list((tmp_path / "telemetry").iterdir())) == (0, [])


def test_a_restart_in_an_outage_keeps_what_came_before_and_its_order(tmp_path: Path, session: FakeSession, fake_device: Any) -> None:
    clock = fake_device.FakeClock()
    pass_an_hour(source(tmp_path, session, clock, start=9), clock)
    later = source(tmp_path, session, clock, start=10)
    pass_an_hour(later, clock)
    session.is_up = True
    deliver(later, session)

    times = [message.time_s for message in session.spooled]
    assert (len(times), times) == (120, sorted(times))


def test_with_a_link_nothing_is_written(tmp_path: Path, session: FakeSession, fake_device: Any) -> None:
    clock = fake_device.FakeClock()
    session.is_up = True
    telemetry = source(tmp_path, session, clock)
    pass_an_hour(telemetry, clock)

    assert (len(session.said), list((tmp_path / "telemetry").iterdir())) == (60, [])
    assert (session.said[0].sent_mb, session.said[0].received_mb) == (2.0, 3.0)
    assert (session.said[0].written_mb or 0.0) >= 0.0


def test_without_an_interval_it_is_never_due(tmp_path: Path, session: Any, fake_device: Any) -> None:
    clock = fake_device.FakeClock()

    assert TelemetrySource(tmp_path, 1, 0.0, session, clock.clock_s, clock.monotonic_s).due_s is None


def test_a_full_disk_loses_a_reading_and_nothing_else(
    tmp_path: Path, session: FakeSession, fake_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fake_device.FakeClock()
    telemetry = source(tmp_path, session, clock)
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.core.files.os.write", _no_space)
        telemetry.turn()
    telemetry.turn()

    assert len(telemetry.spool) == 1


def _no_space(_descriptor: int, _data: bytes) -> int:
    raise OSError(28, "No space left on device")
