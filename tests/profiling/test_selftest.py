"""The self-test finds what a simulated sensor is."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from edgewright.profiling.recording import Recording
from edgewright.profiling.sampler import Sampler
from edgewright.profiling.selftest import AFTER_S, IDLE_S, LOAD_S, PERIOD_S, full_load, judge_step, run_self_test
from edgewright.profiling.sensor import Rail, Traits
from edgewright.profiling.sensors.ina3221 import ina3221_traits
from edgewright.profiling.survey import survey_power


def step_through(chips, chip, volts, idle_mw, load_mw, seed=0):
    chance = np.random.default_rng(seed)
    on, off = 3.0, 3.0 + LOAD_S
    wave = chips.pieces((0.0, idle_mw), (on, load_mw), (off, idle_mw), ripple_mw=0.01 * load_mw)
    registers = chips.convert(chip, 0, volts, wave, 0.0, off + AFTER_S + 0.2, chance)
    clock = chips.Clock(on - IDLE_S)
    rail = Rail("sim", "VDD_IN", "ina3221", ina3221_traits(volts * 1000, chip.shunt_ohm * 1e6, None))
    sampler = Sampler(chips.ChipReader((rail,), [registers], clock), period_s=PERIOD_S, clock_s=clock, chance=random.Random(seed))
    while clock.now_s < off + AFTER_S:
        clock.now_s = max(clock.now_s, sampler.due_s)
        sampler.sample_when_due()
    return judge_step(sampler.recording, on, off, None)


@pytest.mark.parametrize("samples", [64, 128, 512, 1024])
@pytest.mark.parametrize(("shunt_ohm", "volts", "idle_mw", "load_mw"), [(0.005, 5.0, 5000, 12000), (0.002, 19.0, 6000, 20000)])
def test_filter_step_and_cost_are_found_within_five_percent(chips, samples, shunt_ohm, volts, idle_mw, load_mw):
    chip = chips.Chip(shunt_ohm, samples=samples, offsets_uv=(30.0, 0.0, 0.0), stretch=0.04)

    found = step_through(chips, chip, volts, idle_mw, load_mw)

    assert found.reason is None
    assert found.filter_s == pytest.approx(chip.filter_s, rel=0.05)
    assert found.resolution_mw == pytest.approx(chip.step_ma * round(volts * 1000 / 8) * 8 / 1000, rel=0.05)
    assert found.read_p50_ms == pytest.approx(2 * chips.READ_S * 1000, rel=0.05)
    assert found.seconds < 15


def test_without_averaging_there_is_no_filter(chips):
    found = step_through(chips, chips.Chip(0.005, samples=1), 5.0, 5000, 12000)

    assert found.filter_s == pytest.approx(0.0, abs=0.01)


def test_a_step_that_is_too_small_to_see_is_a_reason(chips):
    found = step_through(chips, chips.Chip(0.002), 19.0, 6000, 6100)

    assert found.filter_s is None
    assert "too little" in found.reason


def test_readings_that_failed_are_a_reason():
    recording = Recording((Rail("a", "A", "fake", Traits()),))
    for index in range(200):
        recording.append(index * 0.02, [None], 0.001)

    assert "too few" in judge_step(recording, 1.0, 2.0, None).reason


def test_another_root_is_not_tested(tmp_path):
    assert "this machine" in run_self_test(survey_power(tmp_path))


def test_the_load_ends_with_its_threads():
    with full_load():
        assert any(thread.name == "load-step" for thread in threading.enumerate())

    assert not any(thread.name == "load-step" for thread in threading.enumerate())
