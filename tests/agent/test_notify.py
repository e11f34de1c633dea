"""What systemd hears, on a socket as systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.notify import Watchdog


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(systemd: socket.socket) -> list[bytes]:
    words = []
    while True:
        try:
            words.append(systemd.recv(100))
        except BlockingIOError:
            return words


def environment(systemd: socket.socket, **others: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid()), **others}


def test_it_is_fed_twice_within_its_limit(systemd: socket.socket, fake_device: Any) -> None:
    clock = fake_device.FakeClock()
    watchdog = Watchdog(lambda: True, environment(systemd), clock.monotonic_s)
    watchdog.ready()
    assert watchdog.due_s == clock.monotonic_s()
    watchdog.feed()
    assert watchdog.due_s == clock.monotonic_s() + 30.0
    watchdog.stopping()

    assert heard(systemd) == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_agent_that_is_not_well_is_not_kept_alive(systemd: socket.socket) -> None:
    Watchdog(lambda: False, environment(systemd)).feed()

    assert heard(systemd) == []


@pytest.mark.parametrize("change", [{"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_PID": "1"}])
def test_nobody_waits_for_another_process_s_watchdog(systemd: socket.socket, change: dict[str, str]) -> None:
    assert Watchdog(lambda: True, environment(systemd, **change)).due_s is None


def test_without_systemd_nothing_is_said_and_nothing_is_due() -> None:
    watchdog = Watchdog(lambda: True, {})
    watchdog.ready()
    watchdog.stopping()

    assert watchdog.due_s is None


def test_a_socket_that_has_gone_ends_nobody(tmp_path: Path) -> None:
    Watchdog(lambda: True, {"NOTIFY_SOCKET": str(tmp_path / "nothing")}).ready()


def test_the_abstract_name_space_is_known() -> None:
    name = f"edgewright-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Watchdog(lambda: True, {"NOTIFY_SOCKET": f"@{name}"}).ready()

        assert listener.recv(100) == b"READY=1"
