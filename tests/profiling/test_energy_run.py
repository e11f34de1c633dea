"""A whole measurement: idle, warm-up, window, idle; on a simulated board and a simulated clock, and on a tree that stands still."""

from __future__ import annotations

import random

import numpy as np
import pytest
from edgewright.profiling.energy_run import energy_of, measure_energy, one_after_the_other, plan_of, run_load
from edgewright.profiling.sampler import Sampler
from edgewright.profiling.survey import survey_power


@pytest.fixture
def orin(boards, tmp_path):
    next(board for board in boards.BOARDS if board.name == "orin_nano_jp6").build(tmp_path)
    return tmp_path


def simulate(chips, root, call_s, idle_mw, active_mw, seconds):
    """The measurement's own steps on simulated time; the sampler's readings happen whenever time passes."""
    survey = survey_power(root)
    total = survey.totals.main
    plan = plan_of(seconds, survey.filter_s(total.rails[0]), None)
    chance = np.random.default_rng(3)
    # The same run without a sensor tells when the load comes and goes.
    dry = chips.Clock(2.0)
    first = run_load(one_after_the_other(lambda: dry.sleep(call_s), dry, lambda: False), plan, dry, dry.sleep)
    on, off, warm = first.idle_before.end_s, first.idle_after.start_s, plan.idle_s
    wave = chips.pieces((0.0, idle_mw), (on, active_mw), (off, idle_mw))
    registers = chips.convert(chips.Chip(0.005), 0, 5.0, wave, 0.0, off + warm + 1, chance)
    clock = chips.Clock(2.0)
    sampler = Sampler(chips.ChipReader(survey.rails_of(total), [registers], clock), period_s=plan.period_s, clock_s=clock, chance=random.Random(2))

    def pass_time(length_s):
        until_s = clock.now_s + length_s
        while sampler.due_s <= until_s:
            clock.now_s = max(clock.now_s, sampler.due_s)
            sampler.sample_when_due()
        clock.now_s = until_s

    run = run_load(one_after_the_other(lambda: pass_time(call_s), clock, lambda: False), plan, clock, pass_time)
    pass_time(2 * plan.period_s)
    return energy_of(survey, total, sampler.recording, run, plan.period_s), run


def test_gross_net_and_idle_are_those_of_the_waveform(chips, orin):
    found, run = simulate(chips, orin, 0.02, 5000, 12000, 5.0)

    assert run.window.inferences == pytest.approx(250, abs=1)
    assert found.mean == pytest.approx(12000 * 0.02, rel=0.005)
    assert found.net == pytest.approx(7000 * 0.02, rel=0.01)
    assert (found.idle_before_mw, found.idle_after_mw) == pytest.approx((5000, 5000), rel=0.015)
    assert found.ci95[0] < 12000 * 0.02 < found.ci95[1]
    assert found.net_ci95[0] < 7000 * 0.02 < found.net_ci95[1]
    assert found.scope == "module"
    assert found.edp_mj_ms == pytest.approx(found.mean * 20)
    assert found.inferences_per_j == pytest.approx(1000 / found.mean)
    assert found.flags == ()


def test_a_window_is_never_shorter_than_ten_filters():
    assert plan_of(1.0, 0.43).window_s == pytest.approx(4.3)
    assert plan_of(30.0, 0.43).window_s == 30.0
    assert plan_of(1.0, 0.0).period_s < plan_of(1.0, 0.43).period_s


def test_a_board_that_stands_still_is_measured_in_real_time(boards, tmp_path):
    real = boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("VDD_IN", 5000, 1000), None, None], samples=1)
    boards.device_tree(tmp_path, "nvidia,p3768-0000+p3767-0005", "nvidia,tegra234")

    found = measure_energy(lambda: sum(range(1000)), seconds=0.5, root=tmp_path, idle_s=0.1)

    assert (tmp_path / real).is_dir()
    assert found.reason is None
    assert found.energy.power_mw == pytest.approx(5000)
    assert found.energy.mean == pytest.approx(5000 * found.energy.seconds / found.energy.inferences)
    assert found.energy.net == pytest.approx(0, abs=1e-6)
    assert found.conditions.sensor == "ina3221"
    assert [name for name, _ in found.windows] == ["idle before", "inference", "idle after"]


def test_without_a_sensor_there_is_a_reason_and_no_number(tmp_path):
    calls = []

    found = measure_energy(lambda: calls.append(1), seconds=1, root=tmp_path)

    assert found.energy is None
    assert "no hwmon device named ina3221" in found.reason
    assert calls == []


def test_rails_of_an_unknown_board_give_no_energy(boards, tmp_path):
    boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("MY_RAIL", 5000, 1000), None, None])

    found = measure_energy(lambda: None, seconds=1, root=tmp_path)

    assert found.energy is None
    assert "MY_RAIL" in found.reason


def test_a_call_that_fails_ends_the_sampler(boards, tmp_path):
    import threading

    boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("VDD_IN", 5000, 1000), None, None], samples=1)

    with pytest.raises(ZeroDivisionError):
        measure_energy(lambda: 1 // 0, seconds=1, root=tmp_path, idle_s=0.0)

    assert not any(thread.name == "power-sampler" for thread in threading.enumerate())
