from __future__ import annotations

from edgewright.agent.idleness import Idleness
from edgewright.agent.vitals import Vitals


class Board:
    """A processor whose use is told, and a clock that is moved."""

    def __init__(self) -> None:
        self.now_s = self.busy_s = self.total_s = 0.0
        self.says = True
        self.idleness = Idleness(self.read, lambda: self.now_s)

    def read(self) -> Vitals:
        busy_s = self.busy_s if self.says else None
        return Vitals(uptime_s=0, busy_s=busy_s, total_s=self.total_s, memory_used_mb=None, disk_free_mb=None, temperature_c=None)

    def work(self, seconds: float, percent: float) -> float:
        """Time passes; returns what a look at the end says for a limit of 20 %."""
        self.now_s += seconds
        self.total_s += 4 * seconds
        self.busy_s += 4 * seconds * percent / 100
        return self.idleness.idle_s(20.0)


def test_idle_time_counts_from_the_first_look():
    board = Board()

    assert [board.work(10, 5), board.work(10, 5), board.work(10, 20)] == [0.0, 10.0, 20.0]


def test_work_ends_it():
    board = Board()

    assert [board.work(10, 5), board.work(10, 5), board.work(10, 90), board.work(10, 5)] == [0.0, 10.0, 0.0, 10.0]


def test_looks_close_together_do_not_spoil_the_reading():
    board = Board()
    board.work(0, 0)
    board.work(10, 5)

    assert board.work(0.1, 100) == 10.1
    assert board.work(10, 0) == 20.1


def test_a_board_that_does_not_say_is_never_idle():
    board = Board()
    board.says = False

    assert [board.work(10, 0), board.work(10, 0)] == [0.0, 0.0]
