from __future__ import annotations

import pytest
from edgewright.profiling.board import read_board


@pytest.fixture
def sysfs(load_fake):
    return load_fake("sysfs")


def test_a_jetson_is_known_by_its_device_tree(sysfs, tmp_path):
    board = read_board(sysfs.orin_nano(tmp_path))

    assert board.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert board.compatible == ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234")
    assert board.is_jetson
    assert board.release.startswith("R36 (release), REVISION: 4.4")


def test_a_pc_is_known_by_its_firmware(sysfs, tmp_path):
    files = {
        "sys/class/dmi/id/sys_vendor": "ACME\n",
        "sys/class/dmi/id/product_name": "Box 3\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n",
    }
    board = read_board(sysfs.write(tmp_path, files))

    assert (board.model, board.processor, board.release) == ("ACME Box 3", "Fast CPU @ 3 GHz", "")
    assert not board.is_jetson


def test_an_empty_root_is_an_empty_board(tmp_path):
    board = read_board(tmp_path)

    assert (board.model, board.compatible, board.processor, board.release) == ("", (), "", "")


def test_this_machine_has_a_name():
    assert read_board().model
