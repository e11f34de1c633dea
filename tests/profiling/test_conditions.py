from __future__ import annotations

import pytest
from edgewright.profiling.conditions import read_conditions, temperatures_c


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


def test_a_jetsons_conditions(sysfs, tmp_path):
    found = read_conditions(sysfs.orin_nano(tmp_path), threads=2, batch=4, backend="b", backend_version="1", provider="p")

    assert found.power_mode == "2"
    assert found.clocks_mhz == {"policy0": 1510.4, "17000000.gpu": 624.75}
    assert found.temperatures_c == {"cpu-thermal": 47.312}
    assert found.throttled is False
    assert found.load_1min is None
    assert (found.threads, found.batch, found.backend, found.backend_version, found.provider) == (2, 4, "b", "1", "p")


def test_a_cooling_device_other_than_a_fan_means_throttling(sysfs, tmp_path):
    sysfs.orin_nano(tmp_path)
    (tmp_path / "sys/class/thermal/cooling_device1/cur_state").write_text("3\n")

    assert read_conditions(tmp_path).throttled is True


def test_what_a_board_does_not_say_stays_empty(tmp_path):
    found = read_conditions(tmp_path)

    assert (found.power_mode, found.clocks_mhz, found.temperatures_c, found.throttled, found.load_1min) == (None, {}, {}, None, None)


@pytest.mark.parametrize("status", ["", "pmode:", "nonsense", "\xff"])
def test_a_power_mode_that_cannot_be_read_is_none(sysfs, tmp_path, status):
    sysfs.write(tmp_path, {"var/lib/nvpmodel/status": status})

    assert read_conditions(tmp_path).power_mode is None


def test_psutil_is_asked_on_this_machine_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("edgewright.profiling.conditions._psutil_temperatures_c", lambda: {"chip": 40.0})

    assert temperatures_c(tmp_path) == {}


def test_this_machine_says_its_load():
    assert read_conditions().load_1min is not None
