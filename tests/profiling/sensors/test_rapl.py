from __future__ import annotations

import os

import pytest
from edgewright.profiling.sensors import rapl
from edgewright.profiling.sensors.rapl import SENSOR

ZONES = {"intel-rapl:0": ("package-0", 1_000_000), "intel-rapl:0:0": ("core", 10), "intel-rapl:1": ("psys", 77)}


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(rapl.time, "monotonic", lambda: now[0])
    return now


def test_packages_are_the_total_and_parts_of_them_are_no_rails(sysfs, tmp_path):
    sysfs.rapl(tmp_path, ZONES)

    info = SENSOR.describe(tmp_path)

    assert [(rail.label, rail.key) for rail in info.rails] == [("package-0", "intel-rapl:0"), ("psys", "intel-rapl:1")]
    assert info.total == ("intel-rapl:0",)
    assert info.scope == "package"


def test_power_is_the_counters_rise_over_time(sysfs, tmp_path, clock):
    sysfs.rapl(tmp_path, ZONES)
    readings = SENSOR.open(tmp_path)

    first = readings.read_mw()
    clock[0] += 2.0
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("31000000\n")
    second = readings.read_mw()

    assert first["intel-rapl:0"] is None
    assert second["intel-rapl:0"] == 15_000.0


def test_a_counter_that_wraps_goes_on(sysfs, tmp_path, clock):
    sysfs.rapl(tmp_path, {"intel-rapl:0": ("package-0", 9_999)}, span_uj=9_999)
    readings = SENSOR.open(tmp_path)

    readings.read_mw()
    clock[0] += 1.0
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("4999\n")

    assert readings.read_mw()["intel-rapl:0"] == 5.0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_counter_for_root_alone_says_so(sysfs, tmp_path):
    sysfs.rapl(tmp_path, ZONES)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)

    assert "root" in SENSOR.unavailable(tmp_path)


def test_without_a_package_zone_there_is_no_total(sysfs, tmp_path):
    sysfs.rapl(tmp_path, {"intel-rapl:1": ("psys", 77)})

    info = SENSOR.describe(tmp_path)

    assert info.total == ()
    assert info.total_reason
