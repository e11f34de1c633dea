from __future__ import annotations

import dataclasses

import pytest
from edgewright.profiling.conditions import Workload, conditions_between, other_cpu_percent, take_snapshot
from edgewright.profiling.validity import SamplingRecord, condition_flags, idle_flags, sampling_flags


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


@pytest.fixture
def calm(sysfs, tmp_path):
    """Two looks at a board on which nothing happens."""
    sysfs.orin_nano(tmp_path)
    oc = {f"oc{number}_event_cnt": "7\n" for number in (1, 2, 3)} | {"name": "soctherm_oc\n"}
    sysfs.write(tmp_path, {f"sys/class/hwmon/hwmon3/{name}": value for name, value in oc.items()})
    sysfs.write(tmp_path, {"proc/sys/kernel/random/boot_id": "abc\n", "proc/vmstat": "pswpin 5\npswpout 6\nother 1\n"})
    return take_snapshot(tmp_path), take_snapshot(tmp_path), tmp_path


def flags(before, after):
    return set(condition_flags(before, after, conditions_between(before, after, Workload())))


def test_a_jetsons_conditions(calm):
    before, after, _ = calm

    found = conditions_between(before, after, Workload(2, 4, "b", "1", "p"))

    assert (found.power_mode, found.power_mode_end) == ("2", "2")
    assert found.clocks_mhz == {"policy0": 1510.4, "17000000.gpu": 624.75}
    assert found.temperatures_c == found.temperatures_end_c == {"cpu-thermal": 47.312}
    assert found.throttled is False
    assert found.load_1min is None
    assert (found.threads, found.batch, found.backend, found.backend_version, found.provider) == (2, 4, "b", "1", "p")
    assert found.over_current_events == {"oc1": 0, "oc2": 0, "oc3": 0}
    assert found.swapped_pages == 0


def test_a_calm_board_raises_no_flag(calm):
    before, after, _ = calm

    assert flags(before, after) == set()


@pytest.mark.parametrize(
    ("path", "content", "flag"),
    [
        ("sys/class/hwmon/hwmon3/oc3_event_cnt", "8", "over-current"),
        ("sys/class/thermal/cooling_device1/cur_state", "3", "throttled"),
        ("var/lib/nvpmodel/status", "pmode:0000", "mode-changed"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "729600", "clocks-changed"),
        ("sys/class/devfreq/17000000.gpu/cur_freq", "306000000", "clocks-changed"),
        ("proc/sys/kernel/random/boot_id", "def", "rebooted"),
        ("proc/vmstat", "pswpin 9\npswpout 6", "swapping"),
    ],
)
def test_what_happens_inside_a_window_is_flagged(calm, path, content, flag):
    before, _, root = calm
    (root / path).write_text(content)

    assert flags(before, take_snapshot(root)) == {flag}


def test_a_zone_above_a_trip_point_that_slows_the_board_is_flagged_and_a_fan_s_is_not(calm):
    before, _, root = calm
    zone = root / "sys/class/thermal/thermal_zone0"
    for number, kind, trip in ((0, "active", 40_000), (1, "passive", 99_000)):
        (zone / f"trip_point_{number}_type").write_text(kind)
        (zone / f"trip_point_{number}_temp").write_text(str(trip))
    assert flags(before, take_snapshot(root)) == set()

    (zone / "temp").write_text("99500")

    assert flags(before, take_snapshot(root)) == {"trip-passed"}


def test_the_measured_clock_goes_before_the_requested_one(calm):
    _, _, root = calm
    (root / "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_cur_freq").write_text("755200")

    assert take_snapshot(root).clocks_mhz["policy0"] == 755.2


def test_other_processes_time_is_everybody_s_less_our_own(calm):
    before, after, _ = calm
    first = dataclasses.replace(before, time_s=0.0, busy_s=10.0, own_s=1.0, cores=2)
    last = dataclasses.replace(after, time_s=10.0, busy_s=18.0, own_s=6.0, cores=2)

    # 8 s of both cores' 20 s, of which 5 s are ours
    assert other_cpu_percent(first, last) == 15.0
    assert "other-load" in flags(first, last)


def test_a_cooling_device_other_than_a_fan_means_throttling(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)
    (tmp_path / "sys/class/thermal/cooling_device1/cur_state").write_text("3\n")

    assert take_snapshot(tmp_path).cooling == {"cpu-throttle-alert": 3}


def test_what_a_board_does_not_say_stays_empty(tmp_path):
    found = conditions_between(take_snapshot(tmp_path), take_snapshot(tmp_path), Workload())

    assert (found.power_mode, found.clocks_mhz, found.temperatures_c, found.throttled, found.load_1min) == (None, {}, {}, None, None)


@pytest.mark.parametrize("status", ["", "pmode:", "nonsense", "\xff"])
def test_a_power_mode_that_cannot_be_read_is_none(sysfs, tmp_path, status):
    sysfs.write(tmp_path, {"var/lib/nvpmodel/status": status})

    assert take_snapshot(tmp_path).power_mode is None


def test_psutil_is_asked_on_this_machine_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("edgewright.profiling.conditions._psutil_temperatures_c", lambda: {"chip": 40.0})

    assert take_snapshot(tmp_path).temperatures_c == {}


def test_this_machine_says_its_load():
    assert take_snapshot().load_1min is not None


GOOD = SamplingRecord(seconds=5.0, filter_s=0.43, period_s=0.1, samples=50, largest_gap_s=0.2)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"seconds": 4.0, "samples": 40}, "window-short"),
        ({"filter_s": None}, "filter-unknown"),
        ({"largest_gap_s": 0.31}, "sample-gap"),
        ({"samples": 40}, "coverage-low"),
        ({"is_sensor_error_known": False}, "sensor-error-unknown"),
    ],
)
def test_what_the_samples_lack_is_flagged(change, flag):
    assert list(sampling_flags(GOOD)) == []
    assert flag in list(sampling_flags(dataclasses.replace(GOOD, **change)))


def test_idle_before_and_after_must_agree():
    assert list(idle_flags(5000, 5040, 10)) == []
    assert list(idle_flags(5000, 5100, 10)) == ["idle-disagrees"]
    assert list(idle_flags(5000, 5100, 60)) == []
    assert list(idle_flags(None, 5100, 60)) == ["idle-unknown"]
