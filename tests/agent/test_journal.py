"""The journal's file: whole or not at all, put aside when it cannot be read, and numbers that never go backwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.agent.journal import NUMBERS_PER_START, DeploymentRecord, Journal, JournalFile, ModelRecord, count_start
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.budget import Budget
from edgewright.core.errors import Reason, Unfit
from edgewright.core.wire.messages import Order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ORDER = Order(
    deployment="d1", version="1", model=Artifact({"model.onnx": Blob("0" * 64, 5)}), model_file="model.onnx", budget=Budget(max_energy_mj=3.0)
)


def full_journal() -> Journal:
    deployment = DeploymentRecord(order=ORDER, state="PROBATION", reason=Reason("c", "m", "n"), notes=("a", "b"), elapsed_s=1.5)
    return Journal(desired_sequence=7, signed_s=9.5, models={"m": ModelRecord(wanted=ORDER, held=True, deployment=deployment, proven=deployment)})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    file.save(full_journal())

    assert file.load() == full_journal()
    assert (tmp_path / "journal.json").stat().st_mode & 0o077 == 0


def test_without_a_file_there_is_a_new_journal(tmp_path: Path) -> None:
    assert JournalFile(tmp_path).load() == Journal()
    assert list(tmp_path.iterdir()) == []


def test_a_new_journal_numbers_above_everything_that_was_numbered_before(tmp_path: Path) -> None:
    assert JournalFile(tmp_path).load(start=1).event_sequence == 0
    assert JournalFile(tmp_path).load(start=5).event_sequence == 4 * NUMBERS_PER_START


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), st.just(b"[" * 100_000)))
def test_whatever_is_in_the_file_it_is_kept_and_a_new_journal_begun(tmp_path: Path, data: bytes) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "journal.json").write_bytes(data)

    assert JournalFile(tmp_path).load() == Journal()
    kept = list(tmp_path.iterdir())
    assert [path.read_bytes() for path in kept] == [data]


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_truncated_journal_is_put_aside(tmp_path: Path, cut: int) -> None:
    file = JournalFile(tmp_path)
    file.save(full_journal())
    whole = (tmp_path / "journal.json").read_bytes()
    (tmp_path / "journal.json").write_bytes(whole[:cut])

    assert file.load() == Journal()
    (aside,) = tmp_path.iterdir()
    assert (aside.name.startswith("journal.unreadable-"), aside.read_bytes()) == (True, whole[:cut])


def test_a_journal_of_another_version_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_bytes(b'{"version": 99}')

    assert JournalFile(tmp_path).load() == Journal()


def test_a_journal_that_the_disk_does_not_give_out_stops_the_start_and_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "journal.json").mkdir()
    with pytest.raises(Unfit) as caught:
        JournalFile(tmp_path).load()

    assert caught.value.code == "state-unusable"
    assert (tmp_path / "journal.json").is_dir()


def test_starts_count_up(tmp_path: Path) -> None:
    assert [count_start(tmp_path) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("data", [b"", b"many", b"\xff"])
def test_a_damaged_count_goes_on_far_above(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "starts").write_bytes(data)
    first = count_start(tmp_path)

    assert first > 1_000_000
    assert count_start(tmp_path) == first + 1
    assert first * NUMBERS_PER_START < 2**53


def test_a_full_disk_does_not_keep_the_agent_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count_start(tmp_path)

    def full(*_: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free space")

    monkeypatch.setattr("edgewright.agent.journal.write_atomic", full)
    assert count_start(tmp_path) == 2


def test_a_board_that_takes_the_place_of_another_counts_from_its_enrolment(tmp_path):
    assert [count_start(tmp_path, 1_800_000_000) for _ in range(2)] == [1_800_000_000, 1_800_000_001]
    assert count_start(tmp_path, 1_800_000_500) == 1_800_000_500
    assert count_start(tmp_path) == 1_800_000_501
