"""What has come by the wire and waits for its thread: bounded in count and in bytes."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from ..core.wire.link import Receipt


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message; `arrived_s` is on the monotonic clock. With a `receipt` it waits to be acknowledged."""

    topic: str
    payload: bytes
    arrived_s: float
    receipt: Receipt | None = None


class Backlog:
    """A queue that refuses instead of growing. Any thread puts; `close` ends the waiting of the one that gets."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: deque[Arrival] = deque()
        self._changed = threading.Condition()  # guards all of the above
        self._is_awake = False
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def put(self, topic: str, payload: bytes, receipt: Receipt | None = None) -> bool:
        """Whether there was room."""
        with self._changed:
            if len(self._waiting) >= self._max_count or self._bytes + len(payload) > self._max_bytes:
                return False
            self._waiting.append(Arrival(topic, payload, time.monotonic(), receipt))
            self._bytes += len(payload)
            self._changed.notify()
            return True

    def get(self, wait_s: float | None) -> Arrival | None:
        """The oldest; None after `wait_s` (None: no limit), after `wake`, or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_awake or self._is_closed, wait_s)
            self._is_awake = False
            if not self._waiting or self._is_closed:
                return None
            arrival = self._waiting.popleft()
            self._bytes -= len(arrival.payload)
            return arrival

    def wait(self, wait_s: float) -> None:
        """Until there is something, or `wait_s` has passed, or `wake` or `close` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_awake or self._is_closed, wait_s)

    def take(self, most: int, wait_s: float | None) -> list[Arrival]:
        """The oldest ones, as many as are there and `most` at most; waits as `get` does for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_awake or self._is_closed, wait_s)
            self._is_awake = False
            if self._is_closed:
                return []
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._bytes -= sum(len(arrival.payload) for arrival in taken)
            return taken

    def wake(self) -> None:
        """Let the one that waits go on with nothing."""
        with self._changed:
            self._is_awake = True
            self._changed.notify()

    def close(self) -> None:
        """Nothing comes out any more. Takes the lock, so not from a signal handler."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
