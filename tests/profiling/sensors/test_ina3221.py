from __future__ import annotations

import pytest
from edgewright.profiling.sensors.ina3221 import SENSOR
from edgewright.profiling.sysfs import Sysfs


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


def read(tree):
    rails = SENSOR.rails(tree)
    readings = SENSOR.open(tree, rails)
    try:
        return dict(zip([rail.label for rail in rails], readings.read(), strict=True))
    finally:
        readings.close()


def test_power_is_volts_times_amps(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)

    assert read(Sysfs(tmp_path)) == {"VDD_IN": 5300.0, "VDD_CPU_GPU_CV": 775.0, "VDD_SOC": 1425.0}


def test_current_may_flow_backwards(sysfs, tmp_path):
    sysfs.ina3221(tmp_path, [("VDD_GPU", 19_600, -20)])

    assert read(Sysfs(tmp_path)) == {"VDD_GPU": -392.0}


def test_unused_and_disabled_channels_are_no_rails(sysfs, tmp_path):
    sysfs.ina3221(tmp_path, [("NC", 0, 0), ("VDD_IN", 5000, 100), ("VDD_SOC", 5000, 100)])
    (tmp_path / "sys/class/hwmon/hwmon1/in3_enable").write_text("0\n")

    assert [rail.label for rail in SENSOR.rails(Sysfs(tmp_path))] == ["VDD_IN"]


def test_other_hwmon_devices_are_passed_over(sysfs, tmp_path):
    sysfs.write(tmp_path, {"sys/class/hwmon/hwmon0/name": "coretemp\n", "sys/class/hwmon/hwmon0/in1_label": "VDD_IN\n"})

    assert SENSOR.unavailable(Sysfs(tmp_path)) is not None


def test_a_chip_without_labels_is_told_apart_from_no_chip(sysfs, tmp_path):
    sysfs.write(tmp_path, {"sys/class/hwmon/hwmon0/name": "ina3221\n", "sys/class/hwmon/hwmon0/in1_input": "5000\n"})

    assert "none of its channels has a label" in SENSOR.unavailable(Sysfs(tmp_path))


def test_one_rail_that_does_not_answer_is_none_and_comes_back(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)
    tree = Sysfs(tmp_path)
    file = tmp_path / "sys/class/hwmon/hwmon1/curr1_input"
    readings = SENSOR.open(tree, SENSOR.rails(tree))
    try:
        file.write_text("")
        first = readings.read()
        file.write_text("1000\n")
        second = readings.read()
    finally:
        readings.close()

    assert first == [None, 775.0, 1425.0]
    assert second == [5000.0, 775.0, 1425.0]


def test_the_shunt_of_the_driver_goes_before_that_of_the_board(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)
    sysfs.write(tmp_path, {"sys/class/hwmon/hwmon1/shunt1_resistor": "2000\n"})

    first, second, _ = SENSOR.rails(Sysfs(tmp_path))

    # 40 µV / 2 mΩ is 20 mA, / 5 mΩ 8 mA; at 5 V
    assert (first.traits.resolution_mw, second.traits.resolution_mw) == (100.0, 40.0)
