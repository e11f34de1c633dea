"""Two lanes for what blocks: builds, one at a time, and everything short. A thread lives only while its lane has work.

A job's function runs on the lane's thread; what it returns or raises goes to the daemon's loop, which alone changes state.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from ..core.errors import EdgewrightError, Reason

LaneName = Literal["build", "short"]
T = TypeVar("T")


@dataclass(slots=True)
class Job(Generic[T]):
    """One blocking piece of work. `done` and `failed` are called in the daemon's loop."""

    name: str
    run: Callable[[threading.Event], T]
    done: Callable[[T], None]
    failed: Callable[[Reason], None]
    cancel: threading.Event = field(default_factory=threading.Event)


class Lanes:
    """Runs jobs. `post` hands a callable to the daemon's loop."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._waiting: dict[LaneName, deque[Job[object]]] = {"build": deque(), "short": deque()}
        self._threads: dict[LaneName, threading.Thread] = {}
        self._running: dict[LaneName, Job[object]] = {}

    def submit(self, lane: LaneName, job: Job[T]) -> None:
        with self._lock:
            self._waiting[lane].append(job)  # type: ignore[arg-type] # each job is consistent in itself
            if lane not in self._threads:
                thread = threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}", daemon=True)
                self._threads[lane] = thread
                thread.start()

    def stop(self, timeout_s: float) -> None:
        """Cancel everything and wait for what runs."""
        with self._lock:
            for jobs in self._waiting.values():
                jobs.clear()
            for job in self._running.values():
                job.cancel.set()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(timeout_s)

    def _work(self, lane: LaneName) -> None:
        while True:
            with self._lock:
                if not self._waiting[lane]:
                    self._threads.pop(lane, None)
                    return
                job = self._running[lane] = self._waiting[lane].popleft()
            try:
                result = job.run(job.cancel)
            except EdgewrightError as error:
                self._post(_call(job.failed, error.reason))
            except Exception as error:
                reason = Reason("internal-error", f"{job.name} failed: {type(error).__name__}: {error}"[:500], "Report this with the log")
                self._post(_call(job.failed, reason))
            else:
                self._post(_call(job.done, result))
            finally:
                with self._lock:
                    self._running.pop(lane, None)


def _call(function: Callable[[T], None], value: T) -> Callable[[], None]:
    return lambda: function(value)
