"""Reads power at random moments, one in each slot of time, on the monotonic clock.

Why random: a fixed rate beats with the inference's own period, and without averaging in the sensor the result is then wrong by half, for as long as
one measures. Why one per slot, and the places within the slots spread evenly over every `STRATA` of them (a Latin square): a period that divides the
slot is then met at all its phases, which random places meet only in the long run.

Rules:
- one thread reads (`start`), or the caller does (`sample`): a lock keeps both apart;
- the time of a reading is its end less half its cost: a driver may wait for the sensor first, and the value is as old as the wait's end;
- a slot that a slow reading has eaten is counted, not made up for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from typing_extensions import Self

from .recording import DEFAULT_CAPACITY, Recording
from .sensor import Rail

PERIOD_S = 0.1
STRATA = 32
_MAX_COST_PER_RAIL_S = 0.002


class RowReader(Protocol):
    """What is sampled: `survey.RailReader`, or a simulated sensor."""

    @property
    def rails(self) -> tuple[Rail, ...]: ...

    def read(self) -> Sequence[float | None]: ...


class Sampler:
    """Fills `recording`. As a context manager it samples on a thread of its own from start to end."""

    def __init__(
        self,
        reader: RowReader,
        *,
        period_s: float = PERIOD_S,
        capacity: int = DEFAULT_CAPACITY,
        clock_s: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.recording = Recording(reader.rails, capacity)
        self.period_s = period_s
        self._reader = reader
        self._max_cost_s = _MAX_COST_PER_RAIL_S * len(reader.rails)
        self._clock_s = clock_s
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin_s = clock_s()
        self._slot = 0
        self._places: list[float] = []
        self.due_s = self._next_due_s()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="power-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def sample(self) -> None:
        """Read once, now: at the edges of a window whose load starts or ends there."""
        with self._lock:
            before_s = self._clock_s()
            row = self._reader.read()
            after_s = self._clock_s()
            cost_s = after_s - before_s
            self.recording.append(after_s - min(cost_s, self._max_cost_s) / 2, row, cost_s)

    def sample_when_due(self) -> None:
        """One reading of the schedule: `due_s` moves on to the next."""
        self.sample()
        self.due_s = self._next_due_s()
        now_s = self._clock_s()
        while self.due_s <= now_s:
            self.recording.missed_slots += 1
            self.due_s = self._next_due_s()

    def _run(self) -> None:
        while not self._stop.wait(max(0.0, self.due_s - self._clock_s())):
            self.sample_when_due()

    def _next_due_s(self) -> float:
        if not self._places:
            order = list(range(STRATA))
            self._chance.shuffle(order)
            self._places = [(stratum + self._chance.random()) / STRATA for stratum in order]
        self._slot += 1
        return self._begin_s + (self._slot - 1 + self._places.pop()) * self.period_s
