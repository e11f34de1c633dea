from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest
from edgewright.controller import leases as module
from edgewright.controller.database import Database
from edgewright.controller.leases import DESKS, LEASE_S, LOOK_S, MARGIN_S, Alone, Leases, Shares
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Faulty


@dataclass
class Clock:
    """The database's clock and the processes' own: here they are one."""

    now_s: float = 1000.0

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def processes(paths: FleetPaths, clock: Clock) -> Iterator[list[Leases]]:
    """Three, in the order of their names, each with a connection of its own."""
    with ExitStack() as stack:
        made = [Leases(stack.enter_context(closing(Database(paths.database))), clock.monotonic) for _ in range(3)]
        yield sorted(made, key=lambda process: process.me)


def look(process: Leases) -> Shares:
    """As its thread and its caller do in turns."""
    process.look()
    process.renew()
    return process.look()


def settle(clock: Clock, *processes: Leases) -> list[frozenset[str]]:
    """What each does once all have looked often enough to know one another."""
    for _ in range(4):
        clock.now_s += LOOK_S
        found = [look(process).desks for process in processes]
    return found  # type: ignore[return-value]


def test_who_is_alone_does_everything(clock: Clock, processes: list[Leases]) -> None:
    assert look(processes[0]).desks == frozenset(DESKS) == Alone().look().desks
    assert Alone().look().is_mine("any blob")


def test_two_processes_have_a_desk_each(clock: Clock, processes: list[Leases]) -> None:
    second, first = processes[1], processes[0]
    look(second)

    assert settle(clock, first, second) == [{"conduct"}, {"record"}]


def test_at_no_time_do_two_have_one_desk(clock: Clock, processes: list[Leases]) -> None:
    for step in range(40):
        clock.now_s += 0.7
        # The third joins late, and the first dies in between.
        alive = [process for number, process in enumerate(processes) if (number != 2 or step > 10) and (number != 0 or step < 20)]
        for process in alive:
            look(process)
        held = [desk for process in processes if clock.now_s < process._held[1] for desk in process._held[0].desks]
        assert len(held) == len(set(held))


def test_the_desk_of_a_dead_process_is_taken_when_its_lease_has_ended_and_not_before(clock: Clock, processes: list[Leases]) -> None:
    first, second = processes[:2]
    settle(clock, first, second)
    died_s = clock.now_s
    while look(second).desks != frozenset(DESKS):
        clock.now_s += 0.5
        assert clock.now_s - died_s < 30.0

    assert LEASE_S <= clock.now_s - died_s <= LEASE_S + 0.5


def test_a_desk_that_was_given_up_is_taken_at_the_next_look(clock: Clock, processes: list[Leases]) -> None:
    first, second = processes[:2]
    settle(clock, first, second)
    first.give_up()
    clock.now_s += LOOK_S

    assert look(second).desks == frozenset(DESKS)
    assert first.look().desks == frozenset()


def test_without_the_database_a_holder_stops_before_others_may_begin(clock: Clock, processes: list[Leases], monkeypatch: pytest.MonkeyPatch) -> None:
    holder, asked = processes[0], []
    assert look(holder).desks

    def fail() -> Shares:
        asked.append(clock.now_s)
        raise Faulty("database-failed", "no route to host", "Wait")

    monkeypatch.setattr(holder, "_renewed", fail)
    clock.now_s += LEASE_S - MARGIN_S - 0.1
    assert look(holder).desks
    clock.now_s += 0.2

    assert holder.look() == Shares(holder.me, (), frozenset())
    assert asked


def test_who_is_stuck_lets_its_leases_end(clock: Clock, processes: list[Leases]) -> None:
    stuck, other = processes[:2]
    look(stuck)
    for _ in range(30):
        clock.now_s += LOOK_S
        stuck.renew()  # its thread goes on, and nobody looks

    assert look(other).desks == frozenset(DESKS)
    assert stuck.look().desks == frozenset()


def test_the_thread_renews_by_itself(processes: list[Leases], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, renewed = processes[0], threading.Event()
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    holder.start()
    assert holder.look().desks
    clock.now_s += LEASE_S
    again = holder._renewed

    def renew() -> Shares:
        shares = again()
        renewed.set()
        return shares

    monkeypatch.setattr(holder, "_renewed", renew)
    assert renewed.wait(20)
    holder.give_up()

    assert not holder._thread.is_alive()


def test_every_key_is_exactly_ones_and_a_death_moves_the_dead_ones_keys_alone() -> None:
    keys = [f"blob-{number}" for number in range(300)]
    whose = {key: [name for name in "abc" if Shares(name, ("a", "b", "c"), frozenset()).is_mine(key)] for key in keys}
    after = {key: [name for name in "ab" if Shares(name, ("a", "b"), frozenset()).is_mine(key)] for key in keys}

    assert all(len(owners) == 1 for owners in (*whose.values(), *after.values()))
    assert all(after[key] == owners for key, owners in whose.items() if owners != ["c"])
    assert min(sum(owners == [name] for owners in whose.values()) for name in "abc") > 60
