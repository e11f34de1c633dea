"""Where the agent's log goes: to systemd's journal with fields, when systemd started it; to standard error otherwise.

The journal's native protocol is one datagram per entry (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): a field is ``KEY=value``, or, when its value
has a line break, the key, a little-endian length and the value. ``$JOURNAL_STREAM`` names the stream that systemd connected standard error to
(systemd.exec(5)); only when it is ours does anybody read the journal. When the journal takes no datagram, the entry goes to standard error, which
ends there too, with its priority in front (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from ..core.errors import Reason

JOURNAL_SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "edgewright-agent"
PLAIN = "%(levelname)s %(name)s: %(message)s"
MAX_VALUE_BYTES = 32 << 10
"""The kernel takes datagrams of about 200 KB."""
SEND_S = 1.0
_KEY = "edgewright"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


@dataclass(frozen=True, slots=True)
class Subject:
    """What an entry is about; each is a field of its own in the journal (``EDGEWRIGHT_MODEL`` and so on), None = it is not about one."""

    model: str | None = None
    deployment: str | None = None
    attempt: int | None = None
    state: str | None = None
    code: str | None = None


def about(
    model: str | None = None, deployment: str | None = None, attempt: int | None = None, state: str | None = None, reason: Reason | None = None
) -> dict[str, Subject]:
    """For a logging call: ``log.info("…", extra=about(model="surface"))``."""
    return {_KEY: Subject(model, deployment, attempt, state, None if reason is None else reason.code)}


def start_logging(level: str, stream: TextIO = sys.stderr, environment: Mapping[str, str] = os.environ) -> None:
    """Send the log of this process where it belongs."""
    if is_journal(stream, environment):
        handler: logging.Handler = JournalHandler(stream)
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(PLAIN))
    root = logging.getLogger()
    for former in list(root.handlers):
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that systemd connected to its journal."""
    named = environment.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


class JournalHandler(logging.Handler):
    """Sends entries to the journal; what it does not take goes to `stream`, with the priority in front."""

    def __init__(self, stream: TextIO, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._stream = stream
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(SEND_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a log that cannot be written must not end what it tells of."""
        try:
            text = self.format(record)
            try:
                self._socket.sendto(entry(record, text), self._path)
            except OSError:
                mark = f"<{priority(record.levelno)}>"
                self._stream.write("".join(f"{mark}{line}\n" for line in text.splitlines()))
                self._stream.flush()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def priority(level: int) -> int:
    """syslog's number for a level of `logging`."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def entry(record: logging.LogRecord, text: str) -> bytes:
    """The datagram for one entry."""
    fields: dict[str, object] = {
        "MESSAGE": text,
        "PRIORITY": priority(record.levelno),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "EDGEWRIGHT_LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName,
    }
    subject = record.__dict__.get(_KEY)
    if isinstance(subject, Subject):
        fields |= {f"EDGEWRIGHT_{name.upper()}": getattr(subject, name) for name in Subject.__slots__}
    return b"".join(_field(key, str(value)) for key, value in fields.items() if value is not None)


def _field(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:MAX_VALUE_BYTES]
    if b"\n" in data:
        return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return key.encode() + b"=" + data + b"\n"
