"""The local control socket: one JSON object per line in, one out, then closed. It works with the broker down.

The socket's owner and group decide who may talk (mode 0660). A request is ``{"verb": …, "name": …}``; the answer ``{"ok": …}`` or
``{"error": Reason}``.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.errors import EdgewrightError, Faulty, Reason, Rejected, Unfit, error_from_reason

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 64 * 1024
REQUEST_S = 5.0
ANSWER_S = 30.0
_PAUSE_S = 1.0

Verb = Literal["status", "jobs", "explain", "cancel", "rollback", "release", "diag"]


class ControlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked; `name` is a deployment or a model, where the verb needs one."""

    verb: Verb
    name: str = ""


class ControlAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of both."""

    ok: msgspec.Raw = msgspec.Raw(b"null")
    error: Reason | None = None


class ControlServer:
    """Accepts one connection after the other on a thread of its own; `answer` is called in the daemon's loop."""

    def __init__(self, path: Path, post: Callable[..., None], answer: Callable[[ControlRequest], object]) -> None:
        """Raises:
        Unfit: ``socket-unusable`` when it cannot be made, or is another agent's.
        """
        self._path = path
        self._post = post
        self._answer = answer
        self._stopping = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_way(path)
            with _address(path) as address:
                self._socket.bind(address)
            path.chmod(0o660)
            self._socket.listen(8)
        except OSError as error:
            self._socket.close()
            message = f"the control socket {path} cannot be made: {error}"
            raise Unfit("socket-unusable", message, "Correct paths.socket, or the folder's owner") from error
        except Unfit:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        # Closing alone would leave the thread in accept() for ever.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PAUSE_S)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log.warning("The control socket took no connection: %s", error)
                    self._stopping.wait(_PAUSE_S)
                continue
            with connection:
                try:
                    self._serve_one(connection)
                except OSError as error:
                    log.info("A control connection broke: %s", error)

    def _serve_one(self, connection: socket.socket) -> None:
        line = _read_line(connection, time.monotonic() + REQUEST_S)
        try:
            request = msgspec.json.decode(line, type=ControlRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = Reason("request-malformed", f"the request does not fit: {error}", "Use edgewright agent", "rejected")
            answer = ControlAnswer(error=reason)
        else:
            answer = self._in_loop(request)
        connection.settimeout(REQUEST_S)
        connection.sendall(msgspec.json.encode(answer) + b"\n")

    def _in_loop(self, request: ControlRequest) -> ControlAnswer:
        ready = threading.Event()
        answers: list[ControlAnswer] = []

        def work() -> None:
            try:
                answers.append(ControlAnswer(ok=msgspec.Raw(msgspec.json.encode(self._answer(request)))))
            except EdgewrightError as error:
                answers.append(ControlAnswer(error=error.reason))
            except Exception as error:
                log.exception("A control request failed")
                answers.append(ControlAnswer(error=Faulty("internal-error", f"{request.verb} failed: {error}", "See the agent's log").reason))
            finally:
                ready.set()

        self._post(work)
        if not ready.wait(ANSWER_S):
            return ControlAnswer(error=Unfit("agent-busy", "the agent did not answer in time", "Try again").reason)
        return answers[0]


def _make_way(path: Path) -> None:
    """Remove the socket that an agent left behind which is no more, and nothing else.

    Raises:
        Unfit: ``socket-unusable`` when somebody listens there.
        OSError: it is no socket, or it cannot be removed.
    """
    if path.exists() and not path.is_socket():
        raise FileExistsError(f"{path} is there and no socket")
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(REQUEST_S)
        with _address(path) as address:
            is_taken = probe.connect_ex(address) == 0
        if is_taken:
            raise Unfit("socket-unusable", f"another agent listens at {path}", "Give this one its own paths.socket")
    path.unlink(missing_ok=True)


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """What comes until a line's end, within bounds of size and time.

    Raises:
        OSError: it did not come in time.
    """
    line = b""
    while b"\n" not in line and len(line) <= MAX_LINE_BYTES:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        data = connection.recv(4096)
        if not data:
            break
        line += data
    return line


def ask_agent(path: Path, request: ControlRequest) -> Any:
    """The client's side: send one request to the agent's socket; returns the decoded answer.

    Raises:
        Rejected: ``agent-forbidden``.
        Unfit: ``agent-absent`` when nobody listens, or it ended before it answered.
        EdgewrightError: what the agent answered.
    """
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_S + REQUEST_S)
            with _address(path) as address:
                client.connect(address)
            client.sendall(msgspec.json.encode(request) + b"\n")
            while piece := client.recv(1 << 16):
                data += piece
    except PermissionError as error:
        raise Rejected("agent-forbidden", f"you may not talk to the agent at {path}", f"Join the group of {path}") from error
    except OSError as error:
        hint = "Start it (systemctl start edgewright-agent), or give the --config that it runs with"
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Unfit("agent-absent", f"no agent answers at {path}: {why}", hint) from error
    if not data:
        raise Unfit("agent-absent", f"the agent at {path} ended before it answered", "Look at its log, and ask again")
    answer = msgspec.json.decode(data, type=ControlAnswer)
    if answer.error is not None:
        raise error_from_reason(answer.error)
    return msgspec.json.decode(answer.ok)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """`path` as a socket address, which may have 107 bytes only: by way of its folder's descriptor it fits however deep it lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
