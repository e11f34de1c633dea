"""For how long this device has been idle. One reading per look; looks may come as often as they like."""

from __future__ import annotations

from collections.abc import Callable

from .vitals import Vitals, cpu_percent

SPACING_S = 2.0


class Idleness:
    """Owned by the daemon's loop. Idle time counts only while somebody looks: it begins with the first look."""

    def __init__(self, read: Callable[[], Vitals], monotonic_s: Callable[[], float]) -> None:
        self._read = read
        self._monotonic_s = monotonic_s
        self._last: tuple[float, Vitals] | None = None
        self._since_s: float | None = None

    def idle_s(self, at_most_percent: float) -> float:
        """How long the processor has been used for at most `at_most_percent`; 0 where the board does not say."""
        now_s = self._monotonic_s()
        if self._last is None:
            self._last = (now_s, self._read())
            return 0.0
        looked_s, before = self._last
        if now_s - looked_s >= SPACING_S:
            vitals = self._read()
            self._last = (now_s, vitals)
            used = cpu_percent(before, vitals)
            if used is None or used > at_most_percent:
                self._since_s = None
            elif self._since_s is None:
                self._since_s = looked_s
        return 0.0 if self._since_s is None else now_s - self._since_s
