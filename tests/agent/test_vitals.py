"""The device's health, read from a file system that is made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from edgewright.agent.vitals import boot_id, cpu_percent, memory_mb, read_vitals

MEMINFO = "MemTotal:        2000000 kB\nMemFree:          500000 kB\nMemAvailable:    1500000 kB\nHugePages_Total:       0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/uptime", "123.45 200.00\n")
    write(tmp_path / "proc/meminfo", MEMINFO)
    write(tmp_path / "proc/stat", "cpu  100 20 30 1000 50 6 4 0 0 0\ncpu0 1 2 3\n")
    write(tmp_path / "proc/sys/kernel/random/boot_id", "abc-def\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_everything_is_read_in_its_unit(root: Path) -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    vitals = read_vitals(root, root)

    assert vitals.uptime_s == 123.45
    assert vitals.memory_used_mb == 512.0  # 500 000 KiB
    assert vitals.busy_s == pytest.approx((100 + 20 + 30 + 6 + 4) / hertz)
    assert vitals.total_s == pytest.approx((100 + 20 + 30 + 1000 + 50 + 6 + 4) / hertz)
    assert vitals.disk_free_mb is not None
    assert vitals.disk_free_mb > 0
    assert (memory_mb(root), boot_id(root)) == (2048, "abc-def")


def test_the_hottest_zone_counts_and_unused_ones_do_not(root: Path) -> None:
    for number, text in enumerate(("45500\n", "-256000\n", "61250\n", "0\n", "no number\n")):
        write(root / f"sys/class/thermal/thermal_zone{number}/temp", text)

    assert read_vitals(root, root).temperature_c == 61.25


def test_processor_use_is_the_share_of_the_time_between_two_readings(root: Path) -> None:
    before = read_vitals(root, root)
    write(root / "proc/stat", "cpu  125 20 30 1070 55 6 4 0 0 0\n")  # 25 busy, 75 idle or waiting
    after = read_vitals(root, root)

    assert cpu_percent(before, after) == 25.0
    assert cpu_percent(after, after) is None
    assert cpu_percent(after, before) is None


@pytest.mark.parametrize("is_deleted", [True, False])
def test_what_a_board_does_not_say_is_none(is_deleted: bool, root: Path) -> None:
    for path in [path for path in (root / "proc").rglob("*") if path.is_file()]:
        path.unlink() if is_deleted else path.write_text("")
    vitals = read_vitals(root, root)

    assert (vitals.uptime_s, vitals.busy_s, vitals.total_s, vitals.memory_used_mb, vitals.temperature_c) == (0.0, None, None, None, None)
    assert (cpu_percent(vitals, vitals), memory_mb(root)) == (None, 0)


def test_this_very_machine_answers() -> None:
    vitals = read_vitals(Path("/tmp"))

    assert vitals.uptime_s > 0
    assert vitals.busy_s is not None
    assert vitals.memory_used_mb is not None
