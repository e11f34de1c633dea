"""The outbox: events (and, in a folder of their own, parts of profiles) on disk until the broker has acknowledged them. At most `MAX_IN_FLIGHT`
are handed over at a time.

An event may be delivered twice (its file is deleted after the acknowledgement, and a crash may come between); receivers drop duplicates by
id. When more waits than the limits allow, the oldest go: the state travels whole in ``reported`` and is not lost with them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..core.errors import EdgewrightError
from ..core.files import make_folder, remove_leftovers, write_atomic
from ..core.wire.messages import Event, encode

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 20
Publish = Callable[[bytes], "int | None"]


class Outbox:
    """Owns one folder of the state folder. Owned by the daemon's loop. `limit` messages of `max_bytes` in all are kept."""

    def __init__(self, state: Path, limit: int, *, max_bytes: int = 64 << 20, folder: str = "outbox", in_flight: int = MAX_IN_FLIGHT) -> None:
        self._folder = state / folder
        self._max_in_flight = in_flight
        make_folder(self._folder)
        remove_leftovers(self._folder)
        self._limit = limit
        self._max_bytes = max_bytes
        with os.scandir(self._folder) as entries:
            found = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(".json"))
        # Bytes by name, in the order in which they go.
        self._waiting: dict[str, int] = dict(found)
        self._waiting_bytes = sum(self._waiting.values())
        self._in_flight: dict[int, str] = {}

    def __len__(self) -> int:
        """Messages that the broker does not have yet."""
        return len(self._waiting) + len(self._in_flight)

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    def add(self, event: Event) -> None:
        """Persist one event."""
        self.put(f"{event.sequence:020d}.json", encode(event))

    def put(self, name: str, payload: bytes) -> None:
        """Persist one message; they go in the order in which they came, after a start in that of their names. The same name again replaces it."""
        write_atomic(self._folder / name, payload)
        if name not in self._in_flight.values():
            self._waiting_bytes += len(payload) - self._waiting.get(name, 0)
            self._waiting[name] = len(payload)
        while len(self._waiting) > self._limit or self._waiting_bytes > self._max_bytes:
            dropped = self._take(next(iter(self._waiting)))
            (self._folder / dropped).unlink(missing_ok=True)
            log.warning("The outbox is full: dropped the message %s", dropped)

    def _take(self, name: str) -> str:
        self._waiting_bytes -= self._waiting.pop(name)
        return name

    def flush(self, publish: Publish) -> None:
        """Hand over what may go now; `publish` returns the message's id, or None when the link is down."""
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            name = next(iter(self._waiting))
            try:
                payload = (self._folder / name).read_bytes()
                message_id = publish(payload)
            except (OSError, EdgewrightError) as error:
                log.warning("Dropped the message %s: %s", name, error)
                (self._folder / self._take(name)).unlink(missing_ok=True)
                continue
            if message_id is None:
                return
            self._in_flight[message_id] = self._take(name)

    def acknowledged(self, message_id: int) -> bool:
        """The broker has the message; returns whether it was one of ours. Its file goes."""
        name = self._in_flight.pop(message_id, None)
        if name is not None:
            (self._folder / name).unlink(missing_ok=True)
        return name is not None
