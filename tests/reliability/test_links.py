"""The bad links under a real agent. The benchmark has them all, for longer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.slow
FAULT_S = 1.5
NAMES = (
    "resets, one a second", "black hole", "no connection", "1 KB/s", "20 % of the chunks lost", "20 % of the chunks doubled",
    "20 % of the chunks swapped",
    "broker killed", "another's junk retained",
)  # fmt: skip


@pytest.fixture(scope="module")
def links(faults: Callable[[str], ModuleType], ground: Any) -> Iterator[Any]:
    told = faults("links").Links(ground, fault_s=FAULT_S)
    yield told
    told.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_in_the_middle_of_a_download_is_outlived(links: Any, name: str) -> None:
    recovery = links.tell(name, links.faults()[name], size=700)

    assert recovery.chunks >= 17  # 2 MB in chunks of 119 KB, none of them missing


# --- the proxy itself ---


@pytest.fixture
def echo(faults: Callable[[str], ModuleType]) -> Iterator[Any]:
    """A proxy before a server that says back what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    proxy = faults("proxy").Proxy(listener.getsockname()[1])
    yield proxy
    proxy.close()
    listener.close()


def packet(payload: bytes, topic: bytes = b"ew/v1/f/d/blob") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    return bytes([0x30, len(body)]) + body


def said_back(proxy: Any, *packets: bytes, until: int) -> bytes:
    heard = b""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(10.0)
        for data in packets:
            client.sendall(data)
        while len(heard) < until:
            heard += client.recv(65536)
    return heard


@pytest.mark.parametrize(
    ("weather", "expected"),
    [({}, "abc"), ({"doubled": 1.0}, "aabbcc"), ({"swapped": 1.0}, "ba")],
)
def test_chunks_are_doubled_and_swapped_whole(echo: Any, faults: Callable[[str], ModuleType], weather: dict[str, float], expected: str) -> None:
    echo.weather = faults("proxy").Weather(**weather)
    packets = {name: packet(name.encode() * 20) for name in "abc"}
    wanted = b"".join(packets[name] for name in expected)

    assert said_back(echo, *packets.values(), until=len(wanted)) == wanted


def test_what_is_no_chunk_is_never_lost(echo: Any, faults: Callable[[str], ModuleType]) -> None:
    echo.weather = faults("proxy").Weather(lost=1.0)
    event = packet(b"event", b"ew/v1/f/d/event")

    assert said_back(echo, packet(b"chunk"), event, until=len(event)) == event
    assert (echo.lost, echo.carried) == (1, 1)


def test_a_rate_and_a_delay_are_kept(echo: Any, faults: Callable[[str], ModuleType]) -> None:
    echo.weather = faults("proxy").Weather(bytes_per_s=200_000.0, delay_s=0.1)
    began_s = time.monotonic()
    said_back(echo, bytes([0x40, 0x00]) * 20_000, until=40_000)

    assert time.monotonic() - began_s > 0.3  # 0.2 s on the way there, and the delay on both


def test_a_reset_is_seen_at_once(echo: Any) -> None:
    with socket.create_connection(("127.0.0.1", echo.port)) as client:
        client.settimeout(10.0)
        client.sendall(b"\x40\x00")
        client.recv(10)
        echo.reset()
        try:
            ended = client.recv(10)
        except ConnectionResetError:
            ended = b""

        assert ended == b""


def test_it_says_nothing_of_where_it_leads(tmp_path: Path, faults: Callable[[str], ModuleType]) -> None:
    """A broker that is not there is a connection that ends."""
    del tmp_path
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = faults("proxy").Proxy(port)
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(10.0)
        try:
            ended = client.recv(10)
        except ConnectionResetError:
            ended = b""
    proxy.close()

    assert ended == b""
