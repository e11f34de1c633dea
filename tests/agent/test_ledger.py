"""The ledger: what the disk refused did not happen; what happened is told once it is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.journal import DeploymentRecord, Journal, JournalFile, ModelRecord
from edgewright.agent.ledger import Ledger
from edgewright.agent.outbox import Outbox
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.errors import Reason, Rejected, Unfit
from edgewright.core.wire.messages import Event, Measurement, Order, decode

ORDER = Order(deployment="d1", version="1", model=Artifact({"model.onnx": Blob("0" * 64, 5)}), model_file="model.onnx")
MEASUREMENT = Measurement(chosen=None, baseline=None, verdict=None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return make(tmp_path)


def make(state: Path) -> Ledger:
    file = JournalFile(state)
    return Ledger(file, file.load(), Outbox(state, 100), "fleet", "board-1", lambda: 1_800_000_000.0)


def spooled(state: Path) -> list[Event]:
    return [decode(path.read_bytes(), Event) for path in sorted((state / "outbox").glob("*.json"))]


def full(*_: object, **__: object) -> Any:
    raise Unfit("disk-full", "the disk is full", "Free space")


def test_a_change_is_on_disk_when_it_is_true(ledger: Ledger, tmp_path: Path) -> None:
    ledger.commit(desired_sequence=3)
    ledger.commit_model("m", held=True)

    assert JournalFile(tmp_path).load() == ledger.journal == Journal(desired_sequence=3, models={"m": ModelRecord(held=True)})


def test_a_change_that_the_disk_refuses_did_not_happen(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.commit_deployment("m", DeploymentRecord(order=ORDER))
    before = ledger.journal
    monkeypatch.setattr(JournalFile, "save", full)
    for change in (
        lambda: ledger.commit(desired_sequence=3),
        lambda: ledger.commit_deployment("m", DeploymentRecord(order=ORDER, state="ACCEPTED")),
        lambda: ledger.remove_model("m"),
    ):
        with pytest.raises(Unfit):
            change()

    assert ledger.journal is before


def test_an_event_tells_the_change(ledger: Ledger, tmp_path: Path) -> None:
    reason = Reason("c", "m", "n", "unfit")
    ledger.commit_deployment("m", DeploymentRecord(order=ORDER, attempt=2, state="FAILED", reason=reason, measurement=MEASUREMENT))
    (event,) = spooled(tmp_path)

    assert (event.fleet, event.device, event.id, event.sequence) == ("fleet", "board-1", "board-1-1", 1)
    assert (event.deployment, event.model, event.attempt, event.state) == ("d1", "m", 2, "FAILED")
    assert (event.reason, event.measurement, event.time_s) == (reason, MEASUREMENT, 1_800_000_000.0)


def test_only_states_with_news_of_it_carry_the_measurement(ledger: Ledger, tmp_path: Path) -> None:
    for state in ("MEASURED", "GATED", "PROBATION", "SUCCEEDED"):
        ledger.commit_deployment("m", DeploymentRecord(order=ORDER, state=state, measurement=MEASUREMENT))

    assert [event.measurement is not None for event in spooled(tmp_path)] == [True, False, False, True]


def test_after_a_crash_between_journal_and_outbox_the_event_is_spooled_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.outbox.write_atomic", full)
        ledger.commit_deployment("m", DeploymentRecord(order=ORDER))
        assert ledger.trouble is not None
    assert (spooled(tmp_path), ledger.trouble.code) == ([], "disk-full")
    make(tmp_path)

    assert [event.state for event in spooled(tmp_path)] == ["OFFERED"]


def test_an_event_that_waits_is_spooled_before_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.outbox.write_atomic", full)
        ledger.commit_deployment("m", DeploymentRecord(order=ORDER))
    ledger.commit_deployment("m", DeploymentRecord(order=ORDER, state="ACCEPTED"))

    assert [event.state for event in spooled(tmp_path)] == ["OFFERED", "ACCEPTED"]
    assert ledger.trouble is None


def test_an_event_that_fits_no_message_is_dropped_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise Rejected("message-too-large", "too large", "")

    ledger = make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "add", too_large)
        ledger.commit_deployment("m", DeploymentRecord(order=ORDER))
    ledger.spool()

    assert (ledger.trouble, spooled(tmp_path)) == (None, [])


def test_a_broken_disk_is_a_trouble_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    ledger = make(tmp_path)
    monkeypatch.setattr(Outbox, "add", broken)
    ledger.commit_deployment("m", DeploymentRecord(order=ORDER))

    assert ledger.trouble is not None
    assert ledger.trouble.code == "disk-failed"


def test_models_that_only_the_disk_knows_get_a_record(ledger: Ledger) -> None:
    ledger.commit_model("known", held=True)
    ledger.know_models(["known", "found"])

    assert ledger.journal.models == {"known": ModelRecord(held=True), "found": ModelRecord()}
