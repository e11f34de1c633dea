"""The worker of a unit's entry: ``python -m edgewright.pipeline.serve``, with one connection as its standard input. See `remote`."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading

import msgspec

from ..core.errors import Unfit
from .child import RESULT_FD_VARIABLE, Line
from .memory import MemoryWatch
from .remote import MAX_HEADER_BYTES, Header
from .worker import MAX_REQUEST_BYTES, work

log = logging.getLogger(__name__)

LOOK_S = 0.1


def main(descriptor: int = 0) -> int:
    """Does one task. Ends at once when the other end goes."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    connection = socket.socket(fileno=os.dup(descriptor))
    with connection.makefile("rb", buffering=0) as stream:
        try:
            header = msgspec.json.decode(_line(stream), type=Header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("Dropped a request: %s", error)
            return 1
        request = _exactly(stream, header.size_bytes)
        if request is None or not 0 <= header.size_bytes <= MAX_REQUEST_BYTES:
            log.warning("Dropped a request of %d bytes", header.size_bytes)
            return 1
        os.nice(max(0, header.nice))
        threading.Thread(target=_watch, args=(connection, header), daemon=True).start()
        os.environ[RESULT_FD_VARIABLE] = str(connection.fileno())
        return work(header.task, request, connection.fileno())


def _line(stream: object) -> bytes:
    """Byte by byte: what follows the line is not the line's."""
    line = b""
    while len(line) < MAX_HEADER_BYTES:
        byte = stream.read(1)  # type: ignore[attr-defined]
        if byte in {b"\n", b"", None}:
            break
        line += byte
    return line


def _exactly(stream: object, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < min(size, MAX_REQUEST_BYTES):
        piece = stream.read(min(1 << 16, size - len(data)))  # type: ignore[attr-defined]
        if not piece:
            return None
        data += piece
    return bytes(data)


def _watch(connection: socket.socket, header: Header) -> None:
    """Ends the process when nobody waits for it any more, or when it takes too much."""
    connection.settimeout(LOOK_S)
    memory = MemoryWatch(os.getpid())
    while True:
        try:
            if not connection.recv(1):
                os._exit(1)
        except TimeoutError:
            pass
        except OSError:
            os._exit(1)
        if header.memory_mb is not None and memory.look().taken_mb > header.memory_mb:
            message = f"{header.task} needed more memory than {header.memory_mb:g} MB"
            reason = Unfit("out-of-memory", message, "Allow more memory or use a smaller model").reason
            connection.settimeout(None)
            connection.sendall(msgspec.json.encode(Line(reason=reason)) + b"\n")
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
