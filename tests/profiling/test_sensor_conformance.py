"""What every power sensor promises, run over everything that is found in the folder: on an empty root, and on a tree that has its hardware."""

from __future__ import annotations

import pytest
from edgewright.core.plugins import plugin_names
from edgewright.profiling import sensors
from edgewright.profiling.sensor import load_sensor, sensor_statuses, usable_sensors

SCOPES = {"module", "board", "wall", "package"}


@pytest.fixture(params=plugin_names(sensors))
def name(request):
    return request.param


@pytest.fixture
def populated(name, load_fake, tmp_path):
    """A root on which the sensor `name` has its hardware: each new sensor adds its tree here."""
    sysfs = load_fake("sysfs")
    trees = {
        "ina3221": lambda: sysfs.orin_nano(tmp_path),
        "rapl": lambda: sysfs.rapl(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000), "intel-rapl:0:0": ("core", 5)}),
    }
    return trees[name]()


def test_an_empty_root_has_a_reason(name, tmp_path):
    reason = load_sensor(name).unavailable(tmp_path)

    assert reason
    assert "\n" not in reason


def test_looks_only_below_the_root_it_is_given(name, tmp_path):
    (tmp_path / "sys").mkdir()

    assert load_sensor(name).unavailable(tmp_path) is not None


def test_describes_its_rails(name, populated):
    sensor = load_sensor(name)
    assert sensor.unavailable(populated) is None

    info = sensor.describe(populated)

    keys = [rail.key for rail in info.rails]
    assert keys
    assert len(set(keys)) == len(keys)
    assert all(rail.label for rail in info.rails)
    assert set(info.total) <= set(keys)
    assert (info.scope in SCOPES) if info.total else info.total_reason
    assert info.filter_s >= 0


def test_reads_every_rail_that_it_describes(name, populated):
    sensor = load_sensor(name)
    readings = sensor.open(populated)
    try:
        readings.read_mw()
        values = readings.read_mw()
    finally:
        readings.close()

    assert set(values) == {rail.key for rail in sensor.describe(populated).rails}
    assert all(value is None or isinstance(value, float) for value in values.values())


def test_hardware_that_vanishes_reads_none_and_not_zero(name, populated):
    sensor = load_sensor(name)
    readings = sensor.open(populated)
    for path in sorted((populated / "sys").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    try:
        values = readings.read_mw()
    finally:
        readings.close()

    assert values
    assert set(values.values()) == {None}


def test_closes_more_than_once(name, populated):
    readings = load_sensor(name).open(populated)

    readings.close()
    readings.close()


def test_statuses_tell_all_and_usable_ones_come_with_a_total_first(load_fake, tmp_path):
    sysfs = load_fake("sysfs")
    sysfs.ina3221(tmp_path, [("CUSTOM_RAIL", 5000, 100)])
    sysfs.rapl(tmp_path, {"intel-rapl:0": ("package-0", 1)})

    statuses = sensor_statuses(tmp_path)
    assert tuple(status.name for status in statuses) == plugin_names(sensors)
    assert {"ina3221", "rapl"} <= {status.name for status in statuses if status.is_usable}
    assert usable_sensors(tmp_path)[0] == "rapl"
