"""The outbox: an event is on disk until the broker has it, in order, at most twenty under way, the oldest lost first."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.agent.outbox import MAX_IN_FLIGHT, Outbox
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.messages import Event, decode


def event(sequence: int) -> Event:
    return Event(fleet="f", device="d", id=f"d-{sequence}", sequence=sequence, deployment="d1", model="m", attempt=1, state="OFFERED", time_s=1.0)


class Broker:
    """Takes messages, or does not; ids count up."""

    def __init__(self) -> None:
        self.is_up = True
        self.got: list[int] = []

    def publish(self, payload: bytes) -> int | None:
        if not self.is_up:
            return None
        self.got.append(decode(payload, Event).sequence)
        return 100 + len(self.got)


def files(state: Path) -> list[int]:
    return sorted(int(path.stem) for path in (state / "outbox").glob("*.json"))


def test_an_event_stays_on_disk_until_it_is_acknowledged(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    outbox.add(event(1))
    outbox.flush(broker.publish)
    assert (broker.got, files(tmp_path), len(outbox)) == ([1], [1], 1)
    assert not outbox.acknowledged(5)
    assert outbox.acknowledged(101)

    assert (files(tmp_path), len(outbox)) == ([], 0)


def test_without_a_connection_everything_waits_and_then_goes_in_order(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    broker.is_up = False
    for sequence in (1, 2, 3):
        outbox.add(event(sequence))
        outbox.flush(broker.publish)
    assert (broker.got, len(outbox)) == ([], 3)
    broker.is_up = True
    outbox.flush(broker.publish)

    assert broker.got == [1, 2, 3]


def test_at_most_twenty_are_under_way(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    for sequence in range(1, 31):
        outbox.add(event(sequence))
    outbox.flush(broker.publish)
    assert len(broker.got) == MAX_IN_FLIGHT == 20
    outbox.acknowledged(101)
    outbox.flush(broker.publish)

    assert len(broker.got) == 21


def test_after_a_restart_what_was_not_acknowledged_goes_again_in_order(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    for sequence in (9, 10, 2**40):
        outbox.add(event(sequence))
    outbox.flush(broker.publish)
    outbox.acknowledged(102)
    again = Broker()
    Outbox(tmp_path, 100).flush(again.publish)

    assert again.got == [9, 2**40]


def test_the_same_event_twice_is_one(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    outbox.add(event(1))
    outbox.add(event(1))
    outbox.flush(broker.publish)
    outbox.add(event(1))
    outbox.flush(broker.publish)

    assert broker.got == [1]


def test_when_too_many_wait_the_oldest_go(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 3), Broker()
    for sequence in range(1, 6):
        outbox.add(event(sequence))
    assert files(tmp_path) == [3, 4, 5]
    outbox.flush(broker.publish)

    assert broker.got == [3, 4, 5]


def test_a_file_that_cannot_be_read_or_sent_is_dropped_and_holds_nothing_up(tmp_path: Path) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    for sequence in (1, 2, 3):
        outbox.add(event(sequence))
    (tmp_path / "outbox" / f"{1:020d}.json").unlink()

    def publish(payload: bytes) -> int | None:
        if decode(payload, Event).sequence == 2:
            raise Rejected("message-too-large", "too large", "")
        return broker.publish(payload)

    outbox.flush(publish)
    assert (broker.got, len(outbox), files(tmp_path)) == ([3], 1, [3])


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, broker = Outbox(tmp_path, 100), Broker()
    outbox.add(event(1))

    def full(*_: object, **__: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free space")

    monkeypatch.setattr("edgewright.agent.outbox.write_atomic", full)
    with pytest.raises(Unfit):
        outbox.add(event(2))
    outbox.flush(broker.publish)

    assert broker.got == [1]


def test_temporary_files_of_a_crash_are_removed(tmp_path: Path) -> None:
    Outbox(tmp_path, 100)
    (tmp_path / "outbox" / ".1.json.99.tmp").write_bytes(b"half")
    Outbox(tmp_path, 100)

    assert list((tmp_path / "outbox").iterdir()) == []
