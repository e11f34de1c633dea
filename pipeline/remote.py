"""A worker in a unit of its own: the same tasks as a child's, by a socket that systemd starts one worker per connection for (``Accept=yes``).

The request is one line of JSON (`Header`) and its bytes; the answer comes as a child's lines. The worker ends with its connection, so a cancel, a
time-out and the death of the daemon are one and the same; it watches its own memory, since the daemon may not look into another unit. Used where
``$EDGEWRIGHT_WORKER`` names the socket (see ``systemd/edgewright-agent.service``).
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable

import msgspec

from ..core.errors import Reason

WORKER_VARIABLE = "EDGEWRIGHT_WORKER"
CONNECT_S = 10.0
MAX_HEADER_BYTES = 4096
_POLL_S = 0.2


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the worker reads first; `size_bytes` of request follow the line. `memory_mb` None = not limited but by the unit."""

    task: str
    size_bytes: int
    nice: int = 0
    memory_mb: float | None = None


def call_worker(
    address: str, header: Header, request: bytes, deadline_s: float, cancel: threading.Event | None, take: Callable[[bytes], None]
) -> str | None:
    """Have one task done, and hand over the bytes of its answer as they come. Returns why it was given up (``cancelled``, ``timed_out``,
    ``crashed``), None when the worker came to its end.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection, selectors.DefaultSelector() as selector:
        connection.settimeout(CONNECT_S)
        try:
            connection.connect(address)
            connection.sendall(msgspec.json.encode(header) + b"\n" + request)
        except OSError:
            return "crashed"
        selector.register(connection, selectors.EVENT_READ)
        while True:
            if selector.select(_POLL_S):
                try:
                    data = connection.recv(1 << 16)
                except OSError:
                    return "crashed"
                if not data:
                    return None
                take(data)
            if cancel is not None and cancel.is_set():
                return "cancelled"
            if time.monotonic() > deadline_s:
                return "timed_out"


def unreachable(address: str) -> Reason:
    return Reason("worker-unreachable", f"the worker at {address} could not be asked", "systemctl status edgewright-worker.socket", "faulty")
