"""Energy integrals against closed forms, and what is said where there is no sensor."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from edgewright.profiling.energy import PowerSample, _energy, integrate_mj, measure_energy

TAU = 0.43


def samples_of(power, times):
    return [PowerSample(float(time), float(power(time))) for time in times]


def filtered_step(time):
    """1 W before 0, 5 W after, seen through a first-order low-pass."""
    return 1000 + 4000 * (1 - math.exp(-time / TAU)) if time > 0 else 1000


def test_constant_power_is_power_times_time():
    assert integrate_mj(samples_of(lambda _t: 2500, [0, 0.3, 1.7, 4]), 0.43) == pytest.approx(10_000)


def test_a_ramp_is_exact_at_uneven_times():
    assert integrate_mj(samples_of(lambda t: 1000 * t, [0, 0.1, 0.7, 3]), 0) == pytest.approx(4500)


def test_the_filters_lag_is_undone():
    times = np.sort(np.random.default_rng(1).uniform(0, 2, 400))
    times = np.concatenate([[0], times, [2]])

    naive, corrected = (integrate_mj(samples_of(filtered_step, times), filter_s) for filter_s in (0, TAU))

    # The true energy of 5 W over 2 s is 10,000 mJ; the filter still holds back 4 W · τ · (1 − e^(−2/τ)).
    assert naive == pytest.approx(10_000 - 4000 * TAU * (1 - math.exp(-2 / TAU)), rel=1e-3)
    assert corrected == pytest.approx(10_000, rel=1e-3)


def test_energy_per_call_with_an_interval_from_its_spread():
    samples = samples_of(lambda t: 4000 + (200 if int(t * 10) % 2 else -200), np.arange(0, 10.0001, 0.1))

    energy = _energy(samples, calls=400, filter_s=0, source="ina3221")

    assert energy.mean == pytest.approx(100, rel=0.01)
    assert energy.power_mw == pytest.approx(4000, rel=0.01)
    assert energy.ci95[0] <= energy.mean <= energy.ci95[1]
    assert energy.ci95[1] - energy.ci95[0] < 4
    assert energy.source == "ina3221"


def test_constant_power_has_no_spread():
    energy = _energy(samples_of(lambda _t: 3000, np.arange(0, 2, 0.1)), calls=19, filter_s=0, source="s")

    assert energy.ci95 == (pytest.approx(energy.mean), pytest.approx(energy.mean))
    assert energy.mean == pytest.approx(300)


def test_without_a_sensor_there_is_a_reason_and_no_number(tmp_path):
    found = measure_energy(lambda: None, seconds=0.1, root=tmp_path)

    assert found.energy is None
    assert "ina3221" in found.reason
    assert "rapl" in found.reason


def test_rails_of_an_unknown_board_give_no_total(load_fake, tmp_path):
    load_fake("sysfs").ina3221(tmp_path, [("MYSTERY", 5000, 100)])

    found = measure_energy(lambda: None, seconds=0.1, root=tmp_path)

    assert found.energy is None
    assert "not known" in found.reason


def test_a_board_with_a_sensor_is_measured(load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)
    waiting = threading.Event()
    calls = []

    found = measure_energy(lambda: calls.append(waiting.wait(0.005)), seconds=2.0, root=tmp_path)

    # 5.3 W for the whole time, so a call costs 5.3 W times its own duration, at least 5 ms.
    assert found.reason is None
    assert found.energy.source == "ina3221"
    assert found.energy.power_mw == pytest.approx(5300)
    assert found.energy.mean >= 0.9 * 5300 * 0.005
    assert found.energy.ci95 == (pytest.approx(found.energy.mean), pytest.approx(found.energy.mean))


def test_too_few_readings_are_said(load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)

    found = measure_energy(lambda: None, seconds=0.05, root=tmp_path)

    assert found.energy is None
    assert "readings" in found.reason


def test_a_rail_that_stops_answering_gives_no_energy(load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").write_text("")

    found = measure_energy(lambda: None, seconds=0.3, root=tmp_path)

    assert found.energy is None
    assert found.reason


def test_a_call_that_fails_stops_the_sampler(load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)

    def fail():
        raise RuntimeError("inference failed")

    with pytest.raises(RuntimeError):
        measure_energy(fail, seconds=5, root=tmp_path)

    assert not [thread for thread in threading.enumerate() if thread.name == "power-sampler"]
