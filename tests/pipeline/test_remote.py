"""The worker of a unit: a task by a socket, as systemd starts it, and every way it may end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edgewright.pipeline.child import Limits, run_child
from edgewright.pipeline.remote import WORKER_VARIABLE, Header


class Systemd:
    """Starts a worker per connection, as a socket unit with ``Accept=yes`` does."""

    def __init__(self, address: Path) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                environment = {key: value for key, value in os.environ.items() if key != WORKER_VARIABLE} | {"PYTHONSAFEPATH": "1"}
                command = [sys.executable, "-m", "edgewright.pipeline.serve"]
                self.workers.append(subprocess.Popen(command, stdin=connection, stdout=subprocess.DEVNULL, env=environment))
            self.started.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for worker in self.workers:
            worker.wait(30.0)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    monkeypatch.setenv(WORKER_VARIABLE, str(tmp_path / "socket"))
    running = Systemd(tmp_path / "socket")
    yield running
    running.close()


@pytest.mark.usefixtures("systemd")
def test_a_task_is_done_and_answers_as_a_child_does(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"abc" * 1000)
    seen: list[str] = []
    outcome = run_child("rebuild", b'{"items": []}', Limits(60.0), on_progress=lambda _share, note: seen.append(note))

    assert (outcome.kind, outcome.result) == ("done", b"0")


@pytest.mark.usefixtures("systemd")
def test_a_task_that_fails_says_why() -> None:
    outcome = run_child("probe", msgspec.json.encode({"folder": "/nowhere"}), Limits(60.0))

    assert outcome.kind == "failed"
    assert outcome.reason is not None
    assert outcome.reason.family == "unfit"


@pytest.mark.usefixtures("systemd")
def test_more_memory_than_it_may_take_ends_it() -> None:
    outcome = run_child("capabilities", b"{}", Limits(60.0, memory_mb=1.0))

    assert outcome.kind == "out_of_memory"


def test_a_cancel_ends_the_worker(systemd: Systemd) -> None:
    cancel = threading.Event()
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_child("capabilities", b"{}", Limits(60.0), cancel=cancel)))
    thread.start()
    assert systemd.started.wait(30.0)
    cancel.set()
    thread.join(30.0)
    systemd.workers[0].wait(30.0)

    assert outcomes[0].kind == "cancelled"
    assert systemd.workers[0].returncode is not None


@pytest.mark.usefixtures("systemd")
def test_its_time_is_limited() -> None:
    outcome = run_child("capabilities", b"{}", Limits(0.0))

    assert outcome.kind == "timed_out"


def test_a_worker_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKER_VARIABLE, str(tmp_path / "nothing"))
    outcome = run_child("capabilities", b"{}", Limits(60.0))

    assert outcome.kind == "crashed"
    assert outcome.reason is not None
    assert outcome.reason.code == "worker-unreachable"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}\n",
        b"junk\n",
        b"x" * 5000,
        msgspec.json.encode(Header("capabilities", 1 << 40)) + b"\n",
        msgspec.json.encode(Header("capabilities", 10)) + b"\nab",
    ],
)
def test_what_is_no_request_ends_without_a_task(systemd: Systemd, tmp_path: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "socket"))
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert systemd.started.wait(30.0)
        systemd.workers[0].wait(60.0)

        assert systemd.workers[0].returncode == 1
