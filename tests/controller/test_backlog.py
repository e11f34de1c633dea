from __future__ import annotations

import threading

from edgewright.controller.backlog import Backlog

WAIT_S = 20.0


def test_what_was_put_first_comes_first() -> None:
    backlog = Backlog(10, 1000)
    for number in range(3):
        assert backlog.put(f"topic {number}", b"%d" % number)

    assert [(arrival.topic, arrival.payload) for arrival in (backlog.get(0), backlog.get(0), backlog.get(0)) if arrival] == [
        ("topic 0", b"0"),
        ("topic 1", b"1"),
        ("topic 2", b"2"),
    ]
    assert backlog.get(0) is None


def test_it_refuses_above_its_count_until_something_is_taken() -> None:
    backlog = Backlog(2, 1000)

    assert [backlog.put("t", b"") for _ in range(3)] == [True, True, False]
    backlog.get(0)
    assert [backlog.put("t", b"") for _ in range(2)] == [True, False]


def test_it_refuses_above_its_bytes_until_something_is_taken() -> None:
    backlog = Backlog(1000, 10)

    assert [backlog.put("t", b"12345") for _ in range(3)] == [True, True, False]
    assert backlog.put("t", b"")
    backlog.get(0)
    assert backlog.put("t", b"12345")


def test_the_one_who_waits_gets_what_another_thread_puts() -> None:
    backlog = Backlog(10, 1000)
    threading.Timer(0.01, backlog.put, ("t", b"late")).start()
    arrival = backlog.get(WAIT_S)

    assert arrival is not None
    assert arrival.payload == b"late"


def test_a_wake_ends_one_wait_with_nothing() -> None:
    backlog = Backlog(10, 1000)
    threading.Timer(0.01, backlog.wake).start()

    assert backlog.get(WAIT_S) is None
    assert not backlog.is_closed


def test_a_wake_does_not_hide_what_waits() -> None:
    backlog = Backlog(10, 1000)
    backlog.put("t", b"here")
    backlog.wake()

    assert backlog.get(0) is not None


def test_a_close_ends_every_wait_for_good() -> None:
    backlog = Backlog(10, 1000)
    threading.Timer(0.01, backlog.close).start()

    assert backlog.get(None) is None
    backlog.put("t", b"too late")
    assert backlog.get(None) is None
    assert backlog.is_closed
