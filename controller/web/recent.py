"""Looks at a whole fleet that many readers share: each is made once and given to all who ask within `FRESH_S`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

FRESH_S = 2.0

T = TypeVar("T")


class Recent:
    """Any thread. Whoever asks while a look is being made waits for it instead of making another one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Any]] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        """The last look of this name, made anew when it is older. Names are constants of this program: their number is bounded."""
        with self._lock:
            made_s, found = self._known.get(name, (float("-inf"), None))
            if self._clock() - made_s >= FRESH_S:
                found = make()
                self._known[name] = (self._clock(), found)
            return found  # type: ignore[no-any-return] # what `make` of this name returns
