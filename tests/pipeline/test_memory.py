"""What counts as a child's memory, on a PC and on a board whose GPU shares the processor's."""

from __future__ import annotations

import os

import pytest
from edgewright.pipeline.memory import MemoryWatch, group_rss_mb


@pytest.fixture
def board(tmp_path):
    """``board(available_mb)`` sets the memory of a machine below `tmp_path`; a Jetson with ``jetson=True``."""

    def be(available_mb, *, jetson=False):
        (tmp_path / "proc/device-tree").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/meminfo").write_text(f"MemTotal:       8000000 kB\nMemFree:  1000 kB\nMemAvailable:   {int(available_mb * 1024)} kB\n")
        if jetson:
            (tmp_path / "proc/device-tree/compatible").write_text("nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0")
        return tmp_path

    return be


def test_on_a_pc_a_child_takes_its_resident_memory(board):
    watch = MemoryWatch(os.getpid(), board(6000))
    board(1000)

    seen = watch.look()

    assert seen.taken_mb == pytest.approx(group_rss_mb(os.getpid()), rel=0.2)
    assert seen.available_mb == 1000


def test_on_a_jetson_what_cuda_takes_of_the_shared_memory_is_the_childs(board):
    watch = MemoryWatch(os.getpid(), board(6000, jetson=True))
    board(1000)

    assert watch.look().taken_mb == 5000


def test_on_a_jetson_a_child_takes_at_least_its_resident_memory(board):
    watch = MemoryWatch(os.getpid(), board(6000, jetson=True))
    board(7000)

    assert watch.look().taken_mb == pytest.approx(group_rss_mb(os.getpid()), rel=0.2)


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: lots kB", "MemFree: 5 kB"])
def test_a_machine_that_does_not_say_has_no_available_memory_to_watch(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(text)

    assert MemoryWatch(os.getpid(), tmp_path).look().available_mb is None
