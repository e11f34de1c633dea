"""What systemd is told: that the agent is ready, that its loop works, and that it stops (``sd_notify(3)``). Nothing without ``$NOTIFY_SOCKET``."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

FED_PER_LIMIT = 2


class Watchdog:
    """Fed from the daemon's loop while `is_well` says so of what works beside it; systemd ends an agent that feeds it no more."""

    def __init__(
        self,
        is_well: Callable[[], bool],
        environment: Mapping[str, str] = os.environ,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_well = is_well
        self._monotonic_s = monotonic_s
        self._address = environment.get("NOTIFY_SOCKET", "")
        limit = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._interval_s = int(limit) / 1e6 / FED_PER_LIMIT if limit.isdecimal() and is_ours and self._address else None
        self._due_s = monotonic_s()

    @property
    def due_s(self) -> float | None:
        """When `feed` is due, on the monotonic clock; None = nobody waits for it."""
        return self._due_s if self._interval_s is not None else None

    def ready(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def feed(self) -> None:
        """Say that the loop turns."""
        assert self._interval_s is not None
        self._due_s = self._monotonic_s() + self._interval_s
        if self._is_well():
            self._tell("WATCHDOG=1")
        else:
            log.error("A thread of the agent has ended: the watchdog is not fed any more")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the abstract name space.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(words.encode(), address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", words, error)
