from __future__ import annotations

import itertools
import threading

import pytest
from edgewright.controller.web.recent import FRESH_S, Recent


def test_a_look_is_shared_while_it_is_fresh_and_made_anew_afterwards():
    now, count = [0.0], itertools.count()
    recent = Recent(lambda: now[0])
    seen = []
    for moment in (0.0, FRESH_S - 0.1, FRESH_S, FRESH_S + 0.1):
        now[0] = moment
        seen.append(recent.get("a", lambda: next(count)))

    assert seen == [0, 0, 1, 1]
    assert recent.get("b", lambda: "another") == "another"


def test_who_asks_while_a_look_is_made_waits_for_it():
    recent, count, begun, go_on = Recent(lambda: 0.0), itertools.count(), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert go_on.wait(10)
        return next(count)

    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(recent.get("a", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert seen == [0, 0, 0]


def test_a_look_that_fails_is_tried_again():
    recent = Recent(lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)

    assert recent.get("a", lambda: 7) == 7
