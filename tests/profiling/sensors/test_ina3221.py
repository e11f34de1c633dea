from __future__ import annotations

import pytest
from edgewright.profiling.sensors.ina3221 import SENSOR


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


def read(root):
    readings = SENSOR.open(root)
    try:
        return readings.read_mw()
    finally:
        readings.close()


def labels(info):
    names = {rail.key: rail.label for rail in info.rails}
    return [names[key] for key in info.total]


def test_power_is_volts_times_amps(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)

    assert read(tmp_path) == {"hwmon1.VDD_IN": 5300.0, "hwmon1.VDD_CPU_GPU_CV": 775.0, "hwmon1.VDD_SOC": 1425.0}


def test_current_may_flow_backwards(sysfs, tmp_path):
    sysfs.ina3221(tmp_path, [("VDD_GPU", 19_600, -20)])

    assert read(tmp_path) == {"hwmon1.VDD_GPU": -392.0}


@pytest.mark.parametrize(
    ("chips", "total"),
    [
        ([["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]], ["VDD_IN"]),
        ([["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"]], ["POM_5V_IN"]),
        ([["GPU", "CPU", "SOC"], ["CV", "VDDRQ", "SYS5V"]], ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]),
        ([["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], ["NC", "VDDQ_VDD2_1V8AO", "NC"]], ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]),
        ([["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]], ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]),
        ([["MY_RAIL", "OTHER"]], []),
    ],
    ids=["Orin Nano", "Nano", "AGX Xavier", "AGX Orin", "AGX Thor", "unknown board"],
)
def test_what_adds_up_to_the_module(sysfs, tmp_path, chips, total):
    for number, rails in enumerate(chips, 1):
        sysfs.ina3221(tmp_path, [(label, 5000, 100) for label in rails], number=number)

    info = SENSOR.describe(tmp_path)

    assert labels(info) == total
    assert info.scope == ("module" if total else None)
    assert bool(info.total_reason) is not bool(total)


def test_unused_and_disabled_channels_are_no_rails(sysfs, tmp_path):
    sysfs.ina3221(tmp_path, [("NC", 0, 0), ("VDD_IN", 5000, 100), ("VDD_SOC", 5000, 100)])
    (tmp_path / "sys/class/hwmon/hwmon1/in3_enable").write_text("0\n")

    assert [rail.label for rail in SENSOR.describe(tmp_path).rails] == ["VDD_IN"]


def test_other_hwmon_devices_are_passed_over(sysfs, tmp_path):
    sysfs.write(tmp_path, {"sys/class/hwmon/hwmon0/name": "coretemp\n", "sys/class/hwmon/hwmon0/in1_label": "VDD_IN\n"})

    assert SENSOR.unavailable(tmp_path) is not None


@pytest.mark.parametrize(("samples", "filter_s"), [(512, 0.43), (1, 0.0)])
def test_averaging_in_the_chip_is_a_filter(sysfs, tmp_path, samples, filter_s):
    sysfs.ina3221(tmp_path, [("VDD_IN", 5000, 100)], samples=samples)

    assert SENSOR.describe(tmp_path).filter_s == filter_s


def test_one_rail_that_does_not_answer_is_none_and_comes_back(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)
    file = tmp_path / "sys/class/hwmon/hwmon1/curr1_input"
    readings = SENSOR.open(tmp_path)
    try:
        file.write_text("")
        first = readings.read_mw()
        file.write_text("1000\n")
        second = readings.read_mw()
    finally:
        readings.close()

    assert (first["hwmon1.VDD_IN"], first["hwmon1.VDD_SOC"]) == (None, 1425.0)
    assert second["hwmon1.VDD_IN"] == 5000.0
