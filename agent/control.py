"""The local control socket: one JSON object per line in, one out, then closed. It works with the broker down.

The socket's owner and group decide who may talk (mode 0660). A request is ``{"verb": …, "name": …}``; the answer ``{"ok": …}`` or
``{"error": Reason}``.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.errors import EdgewrightError, Faulty, Reason, Rejected, Unfit

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 64 * 1024
ANSWER_S = 30.0

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
        self._path = path
        self._post = post
        self._answer = answer
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with _address(path) as address:
                self._socket.bind(address)
            path.chmod(0o660)
            self._socket.listen(8)
        except OSError as error:
            message = f"the control socket {path} cannot be made: {error}"
            raise Unfit("socket-unusable", message, "Correct paths.socket, or the folder's owner") from error
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5.0)
                try:
                    self._serve_one(connection)
                except OSError as error:
                    log.info("A control connection broke: %s", error)

    def _serve_one(self, connection: socket.socket) -> None:
        line = b""
        while b"\n" not in line and len(line) <= MAX_LINE_BYTES:
            data = connection.recv(4096)
            if not data:
                break
            line += data
        try:
            request = msgspec.json.decode(line, type=ControlRequest)
        except msgspec.DecodeError as error:
            reason = Reason("request-malformed", f"the request does not fit: {error}", "Use edgewright agent", "rejected")
            answer = ControlAnswer(error=reason)
        else:
            answer = self._in_loop(request)
        connection.settimeout(ANSWER_S)
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


def ask_agent(path: Path, request: ControlRequest) -> Any:
    """The client's side: send one request to the agent's socket; returns the decoded answer.

    Raises:
        Unfit: ``agent-absent`` when nobody listens.
        EdgewrightError: what the agent answered.
    """
    from ..core.errors import error_from_reason

    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_S + 5)
            with _address(path) as address:
                client.connect(address)
            client.sendall(msgspec.json.encode(request) + b"\n")
            while piece := client.recv(1 << 16):
                data += piece
    except PermissionError as error:
        raise Rejected("agent-forbidden", f"you may not talk to the agent at {path}", f"Join the group of {path}") from error
    except OSError as error:
        hint = "Start it (systemctl start edgewright-agent), or give --socket"
        raise Unfit("agent-absent", f"no agent listens at {path}: {os.strerror(error.errno or 0)}", hint) from error
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
