"""When the sampler reads, what it says about the time of a reading, and what it keeps."""

from __future__ import annotations

import math
import random
import threading
import time

import numpy as np
import pytest
from edgewright.profiling.energy import Window, window_energy
from edgewright.profiling.recording import Recording
from edgewright.profiling.sampler import STRATA, Sampler
from edgewright.profiling.sensor import Rail

RAIL = Rail("r", "VDD", "fake")


class Clock:
    def __init__(self, now_s=100.0):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


class Reader:
    """Takes `cost_s` of simulated time for each row."""

    def __init__(self, clock, cost_s=0.0, rows=None, rails=(RAIL,)):
        self.clock, self.cost_s, self.rails, self.rows = clock, cost_s, rails, rows
        self.reads = []

    def read(self):
        self.clock.now_s += self.cost_s
        self.reads.append(self.clock.now_s)
        return [1000.0] * len(self.rails) if self.rows is None else self.rows.pop(0)


def run(sampler, clock, count):
    for _ in range(count):
        clock.now_s = max(clock.now_s, sampler.due_s)
        sampler.sample_when_due()


def test_there_is_one_reading_in_every_slot_and_its_places_are_spread_evenly():
    clock = Clock()
    sampler = Sampler(Reader(clock), clock_s=clock, period_s=0.1, chance=random.Random(3))

    run(sampler, clock, 4 * STRATA)

    slots = [(time_s - 100) / 0.1 for time_s in sampler.recording.times_s]
    assert [math.floor(slot) for slot in slots] == list(range(4 * STRATA))
    for block in range(4):
        places = sorted((slot % 1) * STRATA for slot in slots[block * STRATA : (block + 1) * STRATA])
        assert [math.floor(place) for place in places] == list(range(STRATA))


def test_a_reading_is_as_old_as_its_end_even_when_the_driver_waited():
    clock = Clock()
    reader = Reader(clock, cost_s=0.6)
    sampler = Sampler(reader, clock_s=clock)

    sampler.sample()

    assert abs(sampler.recording.times_s[0] - reader.reads[0]) <= 0.0010001
    assert sampler.recording.costs_s[0] == pytest.approx(0.6)


def test_slots_that_a_slow_reading_ate_are_counted_and_not_made_up_for():
    clock = Clock()
    sampler = Sampler(Reader(clock, cost_s=0.35), clock_s=clock, period_s=0.1, chance=random.Random(1))

    run(sampler, clock, 20)

    spent = clock.now_s - 100
    assert len(sampler.recording) + sampler.recording.missed_slots == pytest.approx(spent / 0.1, abs=2)
    assert sampler.recording.missed_slots > 40


def test_24_hours_leave_no_more_behind_than_the_capacity():
    clock = Clock()
    sampler = Sampler(Reader(clock), clock_s=clock, period_s=10.0, capacity=1000)

    run(sampler, clock, 8640)

    assert len(sampler.recording) <= 1000
    assert sampler.recording.dropped + len(sampler.recording) == 8640
    assert all(len(column) == len(sampler.recording) for column in sampler.recording.columns)


def test_a_sum_has_only_the_moments_at_which_all_its_rails_answered():
    rails = (RAIL, Rail("s", "VDD2", "fake"))
    recording = Recording(rails)
    for time_s, row in ((1.0, [10.0, 1.0]), (2.0, [None, 2.0]), (3.0, [30.0, None]), (4.0, [40.0, 4.0])):
        recording.append(time_s, row, 0.0)

    series = recording.series(("r", "s"))

    assert (list(series.times_s), list(series.values)) == ([1.0, 4.0], [11.0, 44.0])
    assert (recording.missing("r"), recording.missing("s")) == (1, 1)


def test_a_step_of_the_wall_clock_changes_nothing(scenes, monkeypatch):
    def energy():
        chance = np.random.default_rng(11)
        wave = scenes.random_load(scenes.ORIN_NANO, 4.3, 6.3, chance)
        scene = scenes.record(wave, scenes.ORIN_NANO, 4.3, 6.3, scenes.sim.Chip(0.005), chance)
        return window_energy(scene.recording.series(("sim",)), Window(4.3, 6.3), 0.4296).energy_mj

    before = energy()
    wall = time.time
    for step_s in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: wall() + step_s)
        assert energy() == before


def test_the_time_of_a_reading_is_within_a_millisecond_of_the_register_s(scenes):
    chance = np.random.default_rng(5)
    wave = scenes.random_load(scenes.ORIN_NANO, 4.3, 9.3, chance)
    scene = scenes.record(wave, scenes.ORIN_NANO, 4.3, 9.3, scenes.sim.Chip(0.005), chance)

    apart = np.abs(np.array(scene.recording.times_s) - np.array(scene.reader.read_times_s))

    assert apart.max() <= 0.001


def test_the_thread_reads_until_it_is_told_to_stop():
    seen = threading.Event()
    rows = []

    class Counting:
        rails = (RAIL,)

        def read(self):
            rows.append(1)
            if len(rows) >= 5:
                seen.set()
            return [5.0]

    with Sampler(Counting(), period_s=0.005) as sampler:
        assert seen.wait(10)

    assert len(sampler.recording) == len(rows)
    assert not any(thread.name == "power-sampler" for thread in threading.enumerate())
