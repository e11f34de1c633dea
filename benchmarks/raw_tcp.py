"""The yardstick of `transfer.py`: a file over a plain TCP connection, hashed and written to the same disk as the agent does it.

The receiver is a process of its own (this file, run as a program), as the agent is. It starts its clock, asks with one byte, hashes and writes
what comes, brings it to disk, renames it to its digest, and prints the seconds.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

_BUFFER_BYTES = 1 << 20
_TIMEOUT_S = 60.0


def send_and_time(source: Path, digest: str, folder: Path) -> float:
    """Send `source` to a receiver that writes it to `folder`; returns the receiver's seconds, from its request to the file on disk."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_TIMEOUT_S)
        port = str(server.getsockname()[1])
        command = [sys.executable, "-I", __file__, port, digest, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiver:
            try:
                connection, _ = server.accept()
                with connection, source.open("rb") as file:
                    connection.recv(1)
                    connection.sendfile(file)
                    connection.shutdown(socket.SHUT_WR)
                output, errors = receiver.communicate(timeout=_TIMEOUT_S)
            except BaseException:
                receiver.kill()
                raise
    if receiver.returncode != 0:
        raise ConnectionError(f"the raw TCP receiver failed: {errors.strip().rpartition(chr(10))[2]}")
    return float(output)


def receive(port: int, digest: str, folder: Path) -> float:
    """The receiver's side.

    Raises:
        ValueError: what came is not what was announced.
    """
    sha, buffer, partial = hashlib.sha256(), bytearray(_BUFFER_BYTES), folder / f"{digest}.partial"
    view = memoryview(buffer)
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection, partial.open("wb", buffering=0) as file:
        started_s = time.monotonic()
        connection.sendall(b"g")
        while count := connection.recv_into(buffer):
            sha.update(view[:count])
            file.write(view[:count])
        os.fsync(file.fileno())
    if sha.hexdigest() != digest:
        raise ValueError("the received bytes do not have the announced digest")
    partial.rename(folder / digest)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return time.monotonic() - started_s


if __name__ == "__main__":
    _, port_text, digest_text, folder_text = sys.argv
    sys.stdout.write(f"{receive(int(port_text), digest_text, Path(folder_text))}\n")
