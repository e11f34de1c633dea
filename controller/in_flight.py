"""How many messages are handed to the link and not yet taken by the broker: a slow broker slows us down instead of filling our memory."""

from __future__ import annotations

import threading


class InFlight:
    """Counts messages, never above `limit`. Any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._changed = threading.Condition()  # guards the count

    def enter(self, timeout_s: float) -> bool:
        """Count one more, as soon as there is room; False when there was none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count < self._limit, timeout_s):
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        """One has been taken, or was not handed over after all. After a `reset`, what was sent before may still leave."""
        with self._changed:
            self._count = max(0, self._count - 1)
            self._changed.notify()

    def reset(self) -> None:
        """The connection is gone, and with it whatever was under way."""
        with self._changed:
            self._count = 0
            self._changed.notify_all()
