"""Entries in the journal's own protocol, read from a real socket by a reader that knows nothing of the writer; and where no journal is, text."""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.logs import MAX_VALUE_BYTES, JournalHandler, about, entry, is_journal, priority, start_logging
from edgewright.core.errors import Reason
from hypothesis import given
from hypothesis import strategies as st

WAIT_S = 10.0


def read(datagram: bytes) -> dict[str, str]:
    """The fields of one entry, as systemd's documentation says that they are written."""
    fields, rest = {}, io.BytesIO(datagram)
    while line := rest.readline():
        assert line.endswith(b"\n")
        key, equals, value = line[:-1].partition(b"=")
        if not equals:
            value = rest.read(int.from_bytes(rest.read(8), "little"))
            assert rest.read(1) == b"\n"
        fields[key.decode()] = value.decode()
    return fields


class Journal:
    """Stands where systemd's journal listens."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(WAIT_S)
        self._socket.bind(self.path)

    def next(self) -> dict[str, str]:
        return read(self._socket.recv(1 << 20))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    listening = Journal(tmp_path / "socket")
    yield listening
    listening.close()


@pytest.fixture
def logger(journal: Journal) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream, log = io.StringIO(), logging.getLogger("edgewright.agent")
    handler, before = JournalHandler(stream, journal.path), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield log, stream
    log.setLevel(before)
    log.removeHandler(handler)
    handler.close()


def test_an_entry_has_fields_of_its_own(journal: Journal, logger: tuple[logging.Logger, io.StringIO]) -> None:
    reason = Reason("disk-full", "the disk is full", "Free space", "unfit")
    logger[0].warning("%s is %s", "d1", "FAILED", extra=about("surface", "d1", 2, "FAILED", reason))
    fields = journal.next()

    assert {key: fields[key] for key in fields if key.startswith(("EDGEWRIGHT", "MESSAGE", "PRIORITY", "SYSLOG"))} == {
        "MESSAGE": "d1 is FAILED",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "edgewright-agent",
        "EDGEWRIGHT_LOGGER": "edgewright.agent",
        "EDGEWRIGHT_MODEL": "surface",
        "EDGEWRIGHT_DEPLOYMENT": "d1",
        "EDGEWRIGHT_ATTEMPT": "2",
        "EDGEWRIGHT_STATE": "FAILED",
        "EDGEWRIGHT_CODE": "disk-full",
    }
    assert fields["CODE_FILE"] == __file__
    assert fields["CODE_FUNC"] == "test_an_entry_has_fields_of_its_own"
    assert int(fields["CODE_LINE"]) > 0


def test_each_state_of_a_deployment_is_an_entry_that_can_be_asked_for(
    journal: Journal, logger: tuple[logging.Logger, io.StringIO], device: Any
) -> None:
    """``journalctl EDGEWRIGHT_DEPLOYMENT=d1``."""
    device.want(device.order("d1"))
    device.settle()
    states = []
    while not states or states[-1] != "SUCCEEDED":
        fields = journal.next()
        if fields.get("EDGEWRIGHT_DEPLOYMENT") == "d1":
            states.append(fields["EDGEWRIGHT_STATE"])

    assert states[:3] == ["ACCEPTED", "DOWNLOADING", "VERIFIED"]
    assert states[-2:] == ["PROBATION", "SUCCEEDED"]


def test_an_error_s_trace_stands_in_its_message(journal: Journal, logger: tuple[logging.Logger, io.StringIO]) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        logger[0].exception("it failed")
    fields = journal.next()

    assert fields["PRIORITY"] == "3"
    assert fields["MESSAGE"].startswith("it failed\nTraceback")
    assert fields["MESSAGE"].endswith("ValueError: odd")


@given(st.text(max_size=300))
def test_whatever_a_message_says_it_makes_no_field_of_its_own(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "f.py", 1, "%s", (text,), None)
    fields = read(entry(record, text))

    assert set(fields) == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EDGEWRIGHT_LOGGER", "CODE_FILE", "CODE_LINE", "CODE_FUNC"} - (
        {"CODE_FUNC"} if record.funcName is None else set()
    )
    assert fields["MESSAGE"] == text.encode("utf-8", "replace").decode()


def test_a_long_message_is_cut_and_arrives(journal: Journal, logger: tuple[logging.Logger, io.StringIO]) -> None:
    logger[0].info("x" * (1 << 20))

    assert len(journal.next()["MESSAGE"]) == MAX_VALUE_BYTES


def test_without_a_journal_a_line_has_its_priority_in_front(tmp_path: Path, logger: tuple[logging.Logger, io.StringIO]) -> None:
    log, stream = logger
    (tmp_path / "socket").unlink()
    log.error("first\nsecond")
    log.debug("third")

    assert stream.getvalue() == "<3>first\n<3>second\n<7>third\n"


def test_a_journal_that_comes_back_is_written_to_again(tmp_path: Path, journal: Journal, logger: tuple[logging.Logger, io.StringIO]) -> None:
    journal.close()
    Path(journal.path).unlink()
    logger[0].info("lost")
    again = Journal(tmp_path / "socket")
    logger[0].info("found")

    assert again.next()["MESSAGE"] == "found"
    again.close()


@pytest.mark.parametrize(("level", "number"), [(50, 2), (40, 3), (30, 4), (20, 6), (10, 7), (35, 4), (0, 7)])
def test_a_level_has_syslog_s_number(level: int, number: int) -> None:
    assert priority(level) == number


def test_the_journal_reads_a_stream_that_systemd_connected_to_it_and_no_other(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())

        assert is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(stream, {})
        assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


@pytest.mark.parametrize(("is_connected", "kind"), [(True, JournalHandler), (False, logging.StreamHandler)])
def test_logging_starts_where_standard_error_leads(
    tmp_path: Path, is_connected: bool, kind: type[logging.Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        start_logging("warning", stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"} if is_connected else {})
        (handler,) = root.handlers
        handler.close()

    assert type(handler) is kind
    assert root.level == logging.WARNING
    assert "systemd" not in sys.modules, "nothing has to be installed for it"
