"""What every power sensor promises, run over everything that is found in the folder: on an empty root, and on a tree that has its hardware."""

from __future__ import annotations

import pytest
from edgewright.core.plugins import plugin_names
from edgewright.profiling import sensors
from edgewright.profiling.sensor import load_sensor
from edgewright.profiling.survey import sensor_statuses
from edgewright.profiling.sysfs import Sysfs

# They ask programs, libraries and brokers of this machine: their own tests stand in for those.
NOT_IN_A_TREE = {"nvml", "tegrastats", "meter_mqtt"}
# A log is found by its name on each reading, and keeps its last line while it is fresh.
MAY_VANISH_LATE = {"battery"}


@pytest.fixture(params=plugin_names(sensors))
def name(request):
    return request.param


@pytest.fixture(params=[name for name in plugin_names(sensors) if name not in NOT_IN_A_TREE])
def in_tree(request):
    return request.param


@pytest.fixture
def populated(in_tree, load_fake, boards, tmp_path):
    """A root on which the sensor has its hardware: each new sensor adds its tree here."""
    sysfs = load_fake("sysfs")
    by_name = {board.name: board for board in boards.BOARDS}

    def meter(root):
        boards.write(root, "etc/edgewright/power.toml", '[meter]\nkind = "csv"\npath = "/sys/meter.csv"')
        boards.write(root, "sys/meter.csv", "Time,Watts\n1,12.5")

    trees = {
        "ina3221": sysfs.orin_nano,
        "rapl": lambda root: sysfs.rapl(root, {"intel-rapl:0": ("package-0", 1_000_000), "intel-rapl:0:0": ("core", 5)}),
        "ina3221x": by_name["agx_xavier_jp4"].build,
        "ina238": by_name["thor_jp7"].build,
        "hwmon": by_name["server_with_rail_map"].build,
        "battery": by_name["laptop_on_battery"].build,
        "meter_csv": meter,
    }
    trees[in_tree](tmp_path)
    return Sysfs(tmp_path)


def test_an_empty_root_has_a_reason(name, tmp_path):
    reason = load_sensor(name).unavailable(Sysfs(tmp_path))

    assert reason
    assert "\n" not in reason


def test_describes_its_rails(in_tree, populated):
    sensor = load_sensor(in_tree)
    assert sensor.unavailable(populated) is None

    rails = sensor.rails(populated)

    keys = [rail.key for rail in rails]
    assert keys
    assert len(set(keys)) == len(keys)
    assert all(rail.label and rail.sensor == in_tree for rail in rails)
    assert all(rail.traits.filter_s is None or rail.traits.filter_s >= 0 for rail in rails)


def test_reads_every_rail_that_it_is_opened_for_in_their_order(in_tree, populated):
    sensor = load_sensor(in_tree)
    rails = sensor.rails(populated)
    forwards, backwards = sensor.open(populated, rails), sensor.open(populated, rails[::-1])
    try:
        first, second = forwards.read(), backwards.read()
    finally:
        forwards.close()
        backwards.close()

    assert len(first) == len(rails)
    assert all(isinstance(value, float) for value in first)
    assert list(first) == list(second)[::-1]


def test_hardware_that_vanishes_reads_none_and_is_counted(in_tree, populated):
    sensor = load_sensor(in_tree)
    rails = sensor.rails(populated)
    readings = sensor.open(populated, rails)
    readings.read()
    for path in sorted((populated.root / "sys").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    try:
        values = readings.read()
    finally:
        readings.close()

    assert list(values) == [None] * len(rails)
    assert readings.faults.total() == len(rails)


def test_closes_more_than_once(in_tree, populated):
    sensor = load_sensor(in_tree)
    readings = sensor.open(populated, sensor.rails(populated))
    readings.read()

    readings.close()
    readings.close()


def test_statuses_tell_all(load_fake, tmp_path):
    load_fake("sysfs").rapl(tmp_path, {"intel-rapl:0": ("package-0", 1)})

    statuses = sensor_statuses(Sysfs(tmp_path))

    assert tuple(status.name for status in statuses) == plugin_names(sensors)
    assert {status.name for status in statuses if status.is_usable} == {"rapl"}
