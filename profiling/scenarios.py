"""The four ways to load an engine that MLPerf defines, for any callable.

- single-stream: the next call when the last has returned; what counts is latency;
- multi-stream: queries of `streams` calls side by side, the next query when all have returned; a query's latency is its slowest call's;
- offline: everything at once on `streams` threads; what counts is throughput;
- open-loop (MLPerf's server): calls come when they come, by a Poisson process or a fixed beat, whether or not the engine keeps up.

An open loop's latency counts from when a call was *scheduled*: a call that had to wait behind a slow one has waited, and a generator that asks only
when it is answered would never see it (coordinated omission). What is late is called late; nothing is left out.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from typing_extensions import Self

from ..core.histogram import Histogram, histogram_of
from ..core.measurement import Latency
from ..core.profile import ScenarioName
from .latency import summarise

Call = Callable[[], object]
Cancel = Callable[[], bool]
SCENARIOS: tuple[ScenarioName, ...] = get_args(ScenarioName)
MAX_CALLS = 1_000_000
_SPIN_S = 0.0005


@dataclass(frozen=True, slots=True)
class Clock:
    """The monotonic clock in nanoseconds, and waiting on it; tests give a simulated one."""

    now_ns: Callable[[], int] = time.monotonic_ns
    sleep_s: Callable[[float], None] = time.sleep

    def wait_until(self, due_ns: int) -> None:
        """Sleep for most of it, and spin the rest: a late wake-up would count as the engine's latency."""
        left_s = (due_ns - self.now_ns()) / 1e9
        if left_s > _SPIN_S:
            self.sleep_s(left_s - _SPIN_S)
        while self.now_ns() < due_ns:
            self.sleep_s(0)


@dataclass(frozen=True, slots=True)
class Load:
    """What to run. `rate_per_s` is the open loop's; `streams` the calls side by side of the others; `beat` "fixed" or "poisson"."""

    scenario: ScenarioName = "single-stream"
    seconds: float = 2.0
    streams: int = 1
    rate_per_s: float = 10.0
    beat: Literal["poisson", "fixed"] = "poisson"
    warmup_s: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario came to. `latencies_ns` in the order of completion; `calls` includes every stream's."""

    latencies_ns: tuple[int, ...]
    completed_ns: tuple[int, ...]
    started_ns: int
    ended_ns: int
    calls: int
    late: int = 0

    @property
    def latency(self) -> Latency:
        return summarise(list(self.latencies_ns), self.ended_ns - self.started_ns, [stamp / 1e9 for stamp in self.completed_ns])

    @property
    def histogram(self) -> Histogram:
        """Merges with other devices' and hours'."""
        return histogram_of(self.latencies_ns)

    @property
    def throughput_per_s(self) -> float:
        return self.calls / ((self.ended_ns - self.started_ns) / 1e9)


def run_scenario(call: Call, load: Load, *, clock: Clock | None = None, cancel: Cancel = lambda: False) -> Outcome:
    """Warm up, then load `call` as the scenario says: at least once. With `streams` > 1 it runs on several threads."""
    clock = clock or Clock()
    warm_ns = clock.now_ns() + round(load.warmup_s * 1e9)
    call()
    while clock.now_ns() < warm_ns and not cancel():
        call()
    if load.scenario == "open-loop":
        return _open_loop(call, schedule_ns(load), load.streams, clock, cancel)
    if load.scenario == "offline":
        return _offline(call, load, clock, cancel)
    return _closed_loop(call, load, clock, cancel)


def schedule_ns(load: Load) -> list[int]:
    """When calls are due, from the start; at least one."""
    gap_ns = 1e9 / load.rate_per_s
    chance, due_ns, found = random.Random(load.seed), 0.0, [0]
    while len(found) < MAX_CALLS:
        due_ns += gap_ns if load.beat == "fixed" else chance.expovariate(1) * gap_ns
        if due_ns >= load.seconds * 1e9:
            break
        found.append(round(due_ns))
    return found


def _closed_loop(call: Call, load: Load, clock: Clock, cancel: Cancel) -> Outcome:
    streams = load.streams if load.scenario == "multi-stream" else 1
    latencies: list[int] = []
    stamps: list[int] = []
    with _Streams(call, streams) as side_by_side:
        started_ns = before_ns = clock.now_ns()
        end_ns = started_ns + round(load.seconds * 1e9)
        while not latencies or (before_ns < end_ns and len(latencies) < MAX_CALLS and not cancel()):
            side_by_side.run()
            after_ns = clock.now_ns()
            latencies.append(after_ns - before_ns)
            stamps.append(after_ns)
            before_ns = after_ns
    return Outcome(tuple(latencies), tuple(stamps), started_ns, before_ns, len(latencies) * streams)


def _offline(call: Call, load: Load, clock: Clock, cancel: Cancel) -> Outcome:
    """Each thread calls until the time is over; a call's latency is its own."""
    records: list[list[tuple[int, int]]] = [[] for _ in range(load.streams)]
    started_ns = clock.now_ns()
    end_ns = started_ns + round(load.seconds * 1e9)

    def work(record: list[tuple[int, int]]) -> None:
        before_ns = clock.now_ns()
        while not record or (before_ns < end_ns and len(record) < MAX_CALLS // load.streams and not cancel()):
            call()
            after_ns = clock.now_ns()
            record.append((after_ns, after_ns - before_ns))
            before_ns = after_ns

    _on_threads([partial(work, record) for record in records])
    done = sorted(entry for record in records for entry in record)
    return Outcome(tuple(latency for _, latency in done), tuple(stamp for stamp, _ in done), started_ns, done[-1][0], len(done))


def _open_loop(call: Call, schedule: Sequence[int], streams: int, clock: Clock, cancel: Cancel) -> Outcome:
    """`streams` servers take calls from one line. After the last scheduled call those that still wait are served too."""
    line: queue.SimpleQueue[int] = queue.SimpleQueue()
    for due_ns in schedule:
        line.put(due_ns)
    started_ns = clock.now_ns()
    records: list[list[tuple[int, int, bool]]] = [[] for _ in range(streams)]

    def serve(record: list[tuple[int, int, bool]]) -> None:
        while not (record and cancel()):
            try:
                due_ns = started_ns + line.get_nowait()
            except queue.Empty:
                return
            is_late = clock.now_ns() > due_ns
            if not is_late:
                clock.wait_until(due_ns)
            call()
            done_ns = clock.now_ns()
            record.append((done_ns, done_ns - due_ns, is_late))

    _on_threads([partial(serve, record) for record in records])
    done = sorted(entry for record in records for entry in record)
    return Outcome(
        tuple(latency for _, latency, _ in done),
        tuple(stamp for stamp, _, _ in done),
        started_ns,
        done[-1][0],
        len(done),
        sum(is_late for _, _, is_late in done),
    )


def _on_threads(works: Sequence[Callable[[], None]]) -> None:
    """Run each on a thread of its own (one alone: here), wait for all, and raise the first error."""
    if len(works) == 1:
        works[0]()
        return
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class _Streams:
    """Runs one call on each of several waiting threads at once."""

    def __init__(self, call: Call, count: int) -> None:
        self._call = call
        self._count = count
        self._go = [threading.Semaphore(0) for _ in range(count - 1)]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._stopping = False

    def __enter__(self) -> Self:
        for go in self._go:
            threading.Thread(target=self._work, args=(go,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for go in self._go:
            go.release()

    def run(self) -> None:
        for go in self._go:
            go.release()
        self._call()
        errors = [error for _ in self._go if (error := self._done.get()) is not None]
        if errors:
            raise errors[0]

    def _work(self, go: threading.Semaphore) -> None:
        while True:
            go.acquire()
            if self._stopping:
                return
            try:
                self._call()
                self._done.put(None)
            except BaseException as error:
                self._done.put(error)
