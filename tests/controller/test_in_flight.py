from __future__ import annotations

import threading

from edgewright.controller.in_flight import InFlight

WAIT_S = 20.0


def test_it_lets_in_as_many_as_its_limit() -> None:
    in_flight = InFlight(2)

    assert [in_flight.enter(0) for _ in range(3)] == [True, True, False]


def test_one_that_leaves_makes_room_for_one_that_waits() -> None:
    in_flight = InFlight(1)
    in_flight.enter(0)
    threading.Timer(0.01, in_flight.leave).start()

    assert in_flight.enter(WAIT_S)
    assert not in_flight.enter(0)


def test_a_reset_makes_room_for_all() -> None:
    in_flight = InFlight(2)
    in_flight.enter(0)
    in_flight.enter(0)
    threading.Timer(0.01, in_flight.reset).start()

    assert in_flight.enter(WAIT_S)
    assert in_flight.enter(0)


def test_what_leaves_after_a_reset_makes_no_room_that_is_not_there() -> None:
    in_flight = InFlight(1)
    in_flight.reset()
    in_flight.leave()
    in_flight.leave()

    assert [in_flight.enter(0) for _ in range(2)] == [True, False]
