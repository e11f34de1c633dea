"""Two lanes for what blocks: builds, one at a time, and everything short. A thread lives only while its lane has work.

A job's function runs on the lane's thread; what it returns or raises goes to the daemon's loop, which alone changes state. Every job that was
submitted ends in exactly one call of `done` or `failed`, unless the daemon stops first.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from ..core.errors import EdgewrightError, Reason

log = logging.getLogger(__name__)

LaneName = Literal["build", "short"]
T = TypeVar("T")


@dataclass(slots=True, eq=False)
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
        self._lock = threading.Lock()  # guards the three below
        self._waiting: dict[LaneName, deque[Job[Any]]] = {"build": deque(), "short": deque()}
        self._threads: dict[LaneName, threading.Thread] = {}
        self._running: dict[LaneName, Job[Any]] = {}

    def submit(self, lane: LaneName, job: Job[T]) -> None:
        with self._lock:
            if lane not in self._threads:
                thread = threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}", daemon=True)
                thread.start()  # it waits for the lock
                self._threads[lane] = thread
            self._waiting[lane].append(job)

    def cancel(self, job: Job[Any]) -> None:
        """Ask a job to end: one that waits ends here, behind no other; one that runs sees its event."""
        job.cancel.set()
        with self._lock:
            for jobs in self._waiting.values():
                if job in jobs:
                    jobs.remove(job)
                    break
            else:
                return
        self._post(_call(job.failed, Reason("cancelled", f"{job.name} was cancelled", "", "rejected")))

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
                call = _call(job.failed, error.reason)
            except Exception as error:
                log.exception("%s failed", job.name)
                text = f"{job.name} failed: {type(error).__name__}: {error}"[:500]
                call = _call(job.failed, Reason("internal-error", text, "Report this with the agent's log"))
            else:
                call = _call(job.done, result)
            with self._lock:
                self._running.pop(lane, None)
            self._post(call)


def _call(function: Callable[[T], None], value: T) -> Callable[[], None]:
    return lambda: function(value)
