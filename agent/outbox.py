"""The outbox: events (and, in a folder of their own, parts of profiles) on disk until the broker has acknowledged them. At most `MAX_IN_FLIGHT`
are handed over at a time.

An event may be delivered twice (its file is deleted after the acknowledgement, and a crash may come between); receivers drop duplicates by
id. When more events wait than the limit allows, the oldest go: the state travels whole in ``reported`` and is not lost with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..core.errors import EdgewrightError
from ..core.files import remove_leftovers, write_atomic
from ..core.wire.messages import Event, encode

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 20
Publish = Callable[[bytes], "int | None"]


class Outbox:
    """Owns one folder of the state folder. Owned by the daemon's loop."""

    def __init__(self, state: Path, limit: int, *, folder: str = "outbox", in_flight: int = MAX_IN_FLIGHT) -> None:
        self._folder = state / folder
        self._max_in_flight = in_flight
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._folder)
        self._limit = limit
        self._waiting = sorted(path.name for path in self._folder.glob("*.json"))
        self._in_flight: dict[int, str] = {}

    def __len__(self) -> int:
        """Events that the broker does not have yet."""
        return len(self._waiting) + len(self._in_flight)

    def add(self, event: Event) -> None:
        """Persist one event."""
        self.put(f"{event.sequence:020d}.json", encode(event))

    def put(self, name: str, payload: bytes) -> None:
        """Persist one message; they go in the order of their names. The same name again replaces it."""
        write_atomic(self._folder / name, payload)
        if name not in self._waiting and name not in self._in_flight.values():
            self._waiting.append(name)
        while len(self._waiting) > self._limit:
            dropped = self._waiting.pop(0)
            (self._folder / dropped).unlink(missing_ok=True)
            log.warning("The outbox is full: dropped the event %s", dropped)

    def flush(self, publish: Publish) -> None:
        """Hand over what may go now; `publish` returns the message's id, or None when the link is down."""
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            name = self._waiting[0]
            try:
                payload = (self._folder / name).read_bytes()
                message_id = publish(payload)
            except (OSError, EdgewrightError) as error:
                log.warning("Dropped the event %s: %s", name, error)
                (self._folder / name).unlink(missing_ok=True)
                self._waiting.pop(0)
                continue
            if message_id is None:
                return
            self._waiting.pop(0)
            self._in_flight[message_id] = name

    def acknowledged(self, message_id: int) -> bool:
        """The broker has the message; returns whether it was one of ours. Its file goes."""
        name = self._in_flight.pop(message_id, None)
        if name is not None:
            (self._folder / name).unlink(missing_ok=True)
        return name is not None
