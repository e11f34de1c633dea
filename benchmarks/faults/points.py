"""Numbered points in the life of a real agent process, and SIGKILL at one of them.

A point stands before every system call that changes the state folder, before and after every change of the ledger, and at each MQTT
acknowledgement in either direction. A point's number is its label and how often that label was passed before (``rename journal.json#3``): names that
change from run to run (process ids, digests, the numbers of events and commands) are written as one letter. The product knows nothing of this: the
functions of `os` are wrapped in this process.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_NUMBERS = re.compile(r"\d{20}")
_COMMAND = re.compile(r"(?<=/)c\d+(?=[-.])")
_TEMPORARY = re.compile(r"\.([^/]+)\.\d+\.tmp$")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_BY_DESCRIPTOR = ("write", "pwrite", "fsync", "ftruncate")
_BY_PATH = ("unlink", "mkdir", "rmdir", "chmod")


class Points:
    """Counts the points below `state`, writes each into `log` before it is passed, and kills the process at `target`."""

    def __init__(self, state: Path, log: Path, target: str | None) -> None:
        self._state = str(state)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._target = target
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()  # guards the counter: lanes and paho have threads of their own
        self._write, self._readlink = os.write, os.readlink

    def point(self, label: str) -> None:
        """One point. Does not return from the one that is aimed at."""
        with self._lock:
            number = f"{label}#{self._passed[label]}"
            self._passed[label] += 1
            self._write(self._log, f"{number}\n".encode())
            if number == self._target:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def install(self) -> None:
        """Wrap what changes files, the ledger and the link."""
        for name in _BY_DESCRIPTOR:
            setattr(os, name, self._behind_descriptor(name, getattr(os, name)))
        for name in _BY_PATH:
            setattr(os, name, self._behind_path(name, getattr(os, name)))
        os.open = self._behind_open(os.open)  # type: ignore[assignment]
        for name in ("rename", "link", "symlink"):
            setattr(os, name, self._behind_target(name, getattr(os, name)))
        accessor = getattr(pathlib, "_normal_accessor", None)  # Python 3.10 has taken its functions at import
        for name in ("unlink", "mkdir", "rmdir", "chmod", "rename", "link", "symlink") if accessor is not None else ():
            setattr(accessor, name, getattr(os, name))
        self._install_states()
        self._install_acknowledgements()

    def _behind_descriptor(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(descriptor: int, *arguments: Any) -> Any:
            try:
                path = self._readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                path = ""
            self._at(name, path)
            return function(descriptor, *arguments)

        return wrapped

    def _behind_path(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *arguments: Any, **options: Any) -> Any:
            descriptor = options.get("dir_fd")
            text = os.fspath(path)
            self._at(name, text if descriptor is None else f"{self._readlink(f'/proc/self/fd/{descriptor}')}/{text}")
            return function(path, *arguments, **options)

        return wrapped

    def _behind_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
            if flags & _WRITING and options.get("dir_fd") is None:
                self._at("open", os.fspath(path))
            return function(path, flags, *arguments, **options)

        return wrapped

    def _behind_target(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(source: Any, target: Any, *arguments: Any, **options: Any) -> Any:
            self._at(name, os.fspath(target))
            return function(source, target, *arguments, **options)

        return wrapped

    def _at(self, name: str, path: str) -> None:
        if path.startswith(self._state):
            self.point(f"{name} {short_name(path[len(self._state) + 1 :])}")

    def _install_states(self) -> None:
        from edgewright.agent.ledger import Ledger

        commit = Ledger.commit

        def wrapped(ledger: Ledger, **changes: Any) -> None:
            event = changes.get("last_event")
            what = f"state {event.state}" if event is not None else "state " + "+".join(sorted(changes) or ["elapsed"])
            self.point(what)
            commit(ledger, **changes)
            self.point(f"{what} kept")

        Ledger.commit = wrapped  # type: ignore[method-assign]

    def _install_acknowledgements(self) -> None:
        import paho.mqtt.client as mqtt
        from edgewright.agent.session import Session

        published, acknowledge = Session.link_published, mqtt.Client._send_puback

        def taken(session: Session, message_id: int) -> None:
            self.point("acknowledged by the broker")
            published(session, message_id)

        def sent(client: mqtt.Client, message_id: int) -> Any:
            self.point("acknowledged to the broker")
            return acknowledge(client, message_id)

        Session.link_published = taken  # type: ignore[method-assign]
        mqtt.Client._send_puback = sent  # type: ignore[method-assign]


def short_name(path: str) -> str:
    """A file of the state folder, by a name that is the same in every run."""
    path = _TEMPORARY.sub(r"\1.tmp", path)
    return _COMMAND.sub("C", _NUMBERS.sub("N", _DIGEST.sub("D", path)))
