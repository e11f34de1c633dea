"""The daemon as a process: it starts without a broker, answers its socket, ends in order, and says in one line why it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.control import ControlRequest, ask_agent
from edgewright.core.errors import Unfit

WAIT_S = 60.0
CONFIG = """
fleet = "fleet"
device = "board-1"
[broker]
host = "127.0.0.1"
port = 9
[paths]
state = "state"
socket = "state/agent.sock"
trust = "trust"
"""


RACE = """
import queue, signal, threading
from edgewright.agent.__main__ import _stop_on_signals
calls = queue.SimpleQueue()
_stop_on_signals(lambda: calls.put("stopped"))
threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
print(calls.get())
"""


def test_a_signal_that_does_not_wake_the_waiting_loop_stops_it_all_the_same() -> None:
    """It is given to another thread here: to the loop that is a signal which came just before it began to wait."""
    command = [sys.executable, "-c", RACE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True, env=os.environ | {"PYTHONSAFEPATH": "1"})

    assert done.stdout == "stopped\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG, "utf-8")
    return path


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "edgewright.agent", "--config", str(config)]


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command(config), stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONSAFEPATH": "1"}) as process:
        try:
            status(config, process)
            yield process
        finally:
            process.kill()


def status(config: Path, process: subprocess.Popen[str]) -> Any:
    """The agent's status, once it answers."""
    pause, deadline = threading.Event(), time.monotonic() + WAIT_S
    while True:
        assert process.poll() is None
        try:
            return ask_agent(config.parent / "state" / "agent.sock", ControlRequest("status"))
        except Unfit:
            assert time.monotonic() < deadline
            pause.wait(0.05)


def failed(config: Path) -> str:
    done = subprocess.run(command(config), capture_output=True, text=True, timeout=WAIT_S, check=False, env=os.environ | {"PYTHONSAFEPATH": "1"})
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_without_a_broker_and_ends_in_order(config: Path, number: signal.Signals) -> None:
    with running(config) as process:
        answer = status(config, process)
        assert (answer["connected"], answer["device"], answer["broker"]) == (False, "board-1", "127.0.0.1:9")
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_S)

    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert not (config.parent / "state" / "agent.sock").exists()
    assert (config.parent / "state" / "starts").read_text() == "1"


def test_a_second_one_on_the_same_state_says_so_and_harms_nothing(config: Path) -> None:
    with running(config) as process:
        words = failed(config)
        assert status(config, process)["device"] == "board-1"

    assert words.count("\n") == 1
    assert words.startswith("edgewright: another agent uses ")
    assert words.endswith("[state-locked]\n")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("fleet = ", "flet = "), "config-unknown-key"),
        (("port = 9", "port = 0"), "config-bad-value"),
        (("port = 9", 'password_file = "absent"'), "config-bad-value"),
        (("port = 9", 'tls_ca = "agent.toml"'), "tls-files-unusable"),
        (('state = "state"', 'state = "agent.toml/state"'), "state-unusable"),
        (('socket = "state/agent.sock"', 'socket = "agent.toml"'), "socket-unusable"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(config: Path, change: tuple[str, str], code: str) -> None:
    config.write_text(CONFIG.replace(*change), "utf-8")
    words = failed(config)

    assert (words.count("\n"), words.endswith(f" [{code}]\n"), words.startswith("edgewright: ")) == (1, True, True)
    assert config.is_file()


def test_a_journal_that_the_disk_does_not_give_out_is_one_line(config: Path) -> None:
    (config.parent / "state" / "journal.json").mkdir(parents=True)

    assert failed(config).endswith(" [state-unusable]\n")


def test_after_a_kill_it_starts_again_on_what_it_left(config: Path) -> None:
    with running(config) as process:
        process.kill()
        process.wait(WAIT_S)
    assert (config.parent / "state" / "agent.sock").exists()
    with running(config) as process:
        assert status(config, process)["device"] == "board-1"

    assert (config.parent / "state" / "starts").read_text() == "2"
