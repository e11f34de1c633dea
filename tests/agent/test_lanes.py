"""The lanes, with real threads: every job ends in one call, builds go one at a time, and stopping waits for nobody for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from edgewright.agent.lanes import Job, Lanes
from edgewright.core.errors import Reason, Rejected

WAIT_S = 20.0


class Loop:
    """The daemon's side: what was posted, called on the test's thread."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.ends: list[Any] = []

    def run(self, count: int = 1) -> list[Any]:
        for _ in range(count):
            self.calls.get(timeout=WAIT_S)()
        return self.ends

    def job(self, run: Callable[[threading.Event], Any], name: str = "job") -> Job[Any]:
        return Job(name, run, self.ends.append, self.ends.append)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def lanes(loop: Loop) -> Lanes:
    return Lanes(loop.calls.put)


def test_what_a_job_returns_arrives_in_the_loop(loop: Loop, lanes: Lanes) -> None:
    ran_on: list[str] = []

    def run(_cancel: threading.Event) -> int:
        ran_on.append(threading.current_thread().name)
        return 7

    lanes.submit("short", loop.job(run))
    assert (loop.run(), ran_on) == ([7], ["lane-short"])


def test_an_error_arrives_as_its_reason(loop: Loop, lanes: Lanes) -> None:
    def run(_cancel: threading.Event) -> None:
        raise Rejected("bad-thing", "it is bad", "Make it good")

    lanes.submit("short", loop.job(run))
    assert loop.run() == [Reason("bad-thing", "it is bad", "Make it good", "rejected")]


def test_a_fault_of_ours_arrives_as_one(loop: Loop, lanes: Lanes) -> None:
    def run(_cancel: threading.Event) -> None:
        raise ZeroDivisionError("oh")

    lanes.submit("short", loop.job(run, "thing"))
    (reason,) = loop.run()
    assert (reason.code, reason.family, reason.message) == ("internal-error", "faulty", "thing failed: ZeroDivisionError: oh")


def test_a_job_that_fails_does_not_end_its_lane(loop: Loop, lanes: Lanes) -> None:
    def fail(_cancel: threading.Event) -> None:
        raise ValueError

    lanes.submit("short", loop.job(fail))
    lanes.submit("short", loop.job(lambda _: 2))
    assert loop.run(2)[1] == 2


def test_one_lane_goes_one_job_at_a_time_in_order_and_the_other_beside_it(loop: Loop, lanes: Lanes) -> None:
    started, go_on = threading.Event(), threading.Event()
    running: list[str] = []

    def slow(_cancel: threading.Event) -> str:
        running.append("slow")
        started.set()
        assert go_on.wait(WAIT_S)
        running.append("over")
        return "slow"

    lanes.submit("build", loop.job(slow))
    lanes.submit("build", loop.job(lambda _: running.append("next") or "next"))
    assert started.wait(WAIT_S)
    lanes.submit("short", loop.job(lambda _: "short"))
    assert loop.run() == ["short"]
    go_on.set()

    assert loop.run(2) == ["short", "slow", "next"]
    assert running == ["slow", "over", "next"]


def test_a_lane_without_work_has_no_thread(loop: Loop, lanes: Lanes) -> None:
    for _ in range(3):
        lanes.submit("short", loop.job(lambda _: threading.current_thread()))
        thread = loop.run()[-1]
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_job_that_waits_is_cancelled_at_once_and_never_runs(loop: Loop, lanes: Lanes) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(_cancel: threading.Event) -> str:
        started.set()
        assert go_on.wait(WAIT_S)
        return "slow"

    lanes.submit("build", loop.job(slow))
    waiting = loop.job(lambda _: "never", "the second build")
    lanes.submit("build", waiting)
    assert started.wait(WAIT_S)
    lanes.cancel(waiting)
    (reason,) = loop.run()
    assert (reason.code, reason.message) == ("cancelled", "the second build was cancelled")
    go_on.set()

    assert loop.run()[1:] == ["slow"]
    assert loop.calls.empty()


def test_a_job_that_runs_sees_that_it_is_cancelled_and_ends_once(loop: Loop, lanes: Lanes) -> None:
    started = threading.Event()

    def until_cancelled(cancel: threading.Event) -> str:
        started.set()
        return "seen" if cancel.wait(WAIT_S) else "not seen"

    job = loop.job(until_cancelled)
    lanes.submit("short", job)
    assert started.wait(WAIT_S)
    lanes.cancel(job)
    lanes.cancel(job)

    assert loop.run() == ["seen"]
    assert loop.calls.empty()


def test_cancelling_what_is_over_changes_nothing(loop: Loop, lanes: Lanes) -> None:
    job = loop.job(lambda _: 1)
    lanes.submit("short", job)
    loop.run()
    lanes.cancel(job)

    assert loop.calls.empty()


def test_stopping_cancels_what_runs_and_forgets_what_waits(loop: Loop, lanes: Lanes) -> None:
    started = threading.Event()

    def until_cancelled(cancel: threading.Event) -> str:
        started.set()
        return "cancelled" if cancel.wait(WAIT_S) else "not"

    lanes.submit("build", loop.job(until_cancelled))
    lanes.submit("build", loop.job(lambda _: "never"))
    assert started.wait(WAIT_S)
    lanes.stop(WAIT_S)

    assert loop.run() == ["cancelled"]
    assert loop.calls.empty()


def test_a_thread_that_cannot_be_started_leaves_nothing_behind(loop: Loop, lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            lanes.submit("short", loop.job(lambda _: "first"))
    lanes.submit("short", loop.job(lambda _: "second"))

    assert loop.run() == ["second"]
    assert loop.calls.empty()
