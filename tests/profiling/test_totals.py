"""The total of every known board, and no total where it cannot be known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from edgewright.profiling.reading import PowerReading, read_power
from edgewright.profiling.survey import survey_power

BOARD_NAMES = [
    "tx1_jp4", "nano_jp4", "tx2_jp4", "tx2_nx_jp4", "xavier_nx_jp4", "xavier_nx_jp5", "agx_xavier_jp4", "agx_xavier_jp5", "orin_nano_jp6",
    "orin_nx_jp6", "agx_orin_jp6_12v", "agx_orin_jp6_19v", "thor_jp7", "thor_jp7_gated", "laptop_on_battery", "server_with_rail_map",
]  # fmt: skip


def read(root: Path) -> PowerReading:
    return read_power(survey_power(root), 0.01)


def build(boards: ModuleType, name: str, root: Path) -> None:
    next(board for board in boards.BOARDS if board.name == name).build(root)


def test_the_list_of_boards_is_complete(boards: ModuleType) -> None:
    assert sorted(BOARD_NAMES) == sorted(board.name for board in boards.BOARDS)


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_the_total_of_a_known_board_is_right(boards: ModuleType, tmp_path: Path, name: str) -> None:
    board = next(board for board in boards.BOARDS if board.name == name)
    board.build(tmp_path)

    found = read(tmp_path).total

    assert found is not None
    assert board.total_mw == pytest.approx(found.mean_mw)
    assert (board.scope, board.labels) == (found.scope, found.rails)


@pytest.mark.parametrize("name", [name for name in BOARD_NAMES if name not in {"laptop_on_battery", "server_with_rail_map"}])
def test_the_total_is_the_same_when_the_device_tree_was_not_copied(boards: ModuleType, tmp_path: Path, name: str) -> None:
    board = next(board for board in boards.BOARDS if board.name == name)
    board.build(tmp_path)
    for file in (tmp_path / "proc/device-tree").iterdir():
        file.unlink()

    found = read(tmp_path).total

    assert found is not None
    assert (board.scope, board.labels) == (found.scope, found.rails)
    assert board.total_mw == pytest.approx(found.mean_mw)


def test_module_and_carrier_of_a_tx2_together_are_the_board(boards: ModuleType, tmp_path: Path) -> None:
    build(boards, "tx2_jp4", tmp_path)

    assert [(other.scope, other.mean_mw) for other in read(tmp_path).others] == [("board", 3056 + 1400)]


def test_the_rails_of_a_thor_s_module_are_told_beside_the_board(boards: ModuleType, tmp_path: Path) -> None:
    build(boards, "thor_jp7", tmp_path)

    (module,) = read(tmp_path).others

    assert module.scope == "module"
    assert pytest.approx(5488 + 7448 + 6289.92) == module.mean_mw


def test_a_board_of_another_maker_has_no_total_though_a_rail_is_called_vdd_in(boards: ModuleType, tmp_path: Path) -> None:
    boards.device_tree(tmp_path, "acme,gateway-7", "acme,soc")
    boards.hwmon_ina3221(tmp_path, "3-0040", 1, [("VDD_IN", 5000, 800), ("VDD_A", 5000, 80), ("VDD_B", 5000, 40)])

    found = read(tmp_path)

    assert found.total is None
    assert "acme,gateway-7" in (found.total_reason or "")
    assert [rail.mean_mw for rail in found.rails] == [4000, 400, 200]


def test_an_unknown_jetson_has_no_total(boards: ModuleType, tmp_path: Path) -> None:
    boards.device_tree(tmp_path, "nvidia,p9999-0000", "nvidia,tegra999")
    boards.hwmon_ina3221(tmp_path, "1-0040", 1, [("VDD_NEW", 5000, 800), None, None])

    found = read(tmp_path)

    assert found.total is None
    assert "VDD_NEW" in (found.total_reason or "")


def test_a_missing_rail_means_no_total_and_is_named(boards: ModuleType, tmp_path: Path) -> None:
    boards.device_tree(tmp_path, "nvidia,p3737-0000+p3701-0005", "nvidia,tegra234")
    boards.hwmon_ina3221(tmp_path, "1-0040", 3, [("VDD_GPU_SOC", 12008, 280), None, ("VIN_SYS_5V0", 4968, 980)])

    found = read(tmp_path)

    assert found.total is None
    assert "VDD_CPU_CV" in (found.total_reason or "")


def test_a_carrier_s_rail_of_an_agx_orin_is_not_taken_for_the_module_s_input(boards: ModuleType, tmp_path: Path) -> None:
    build(boards, "agx_orin_jp6_12v", tmp_path)
    boards.hwmon_ina3221(tmp_path, "7-0044", 8, [("VDD_IN", 12000, 1200), None, None])

    found = read(tmp_path).total

    assert found is not None
    assert pytest.approx(8711.2) == found.mean_mw


def test_a_processor_alone_is_no_board(boards: ModuleType, tmp_path: Path) -> None:
    for name, value in (("name", "package-0"), ("energy_uj", 10_000_000), ("max_energy_range_uj", 262_143_328_850)):
        boards.write(tmp_path, f"sys/class/powercap/intel-rapl:0/{name}", value)

    found = read(tmp_path)

    assert found.total is None
    assert "not the board" in (found.total_reason or "")
    assert [rail.rail.label for rail in found.rails] == ["package-0"]


def test_an_empty_root_answers_with_reasons(tmp_path: Path) -> None:
    found = read(tmp_path)

    assert (found.total, found.rails, found.samples) == (None, (), 0)
    assert "no hwmon device named ina3221" in (found.total_reason or "")


def test_a_mistake_in_power_toml_is_a_reason(boards: ModuleType, tmp_path: Path) -> None:
    build(boards, "orin_nano_jp6", tmp_path)
    boards.write(tmp_path, "etc/edgewright/power.toml", "[totl]\nrails = []")

    found = read(tmp_path)

    assert found.total is None
    assert "'totl'" in (found.total_reason or "")


@pytest.mark.parametrize("command", ["power", "doctor"])
def test_the_command_line_prints_the_keys_that_scripts_rely_on(boards: ModuleType, tmp_path: Path, command: str) -> None:
    build(boards, "agx_orin_jp6_12v", tmp_path)
    options = ["--seconds", "0.1"] if command == "power" else []
    argv = [sys.executable, "-Im", "edgewright.cli.main", command, "--root", str(tmp_path), "--json", *options]

    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    if command == "power":
        assert {"rails", "total", "total_reason", "seconds", "samples"} <= answer.keys()
        assert {"label", "mean_mw", "sensor"} <= answer["rails"][0].keys()
        assert (answer["total"]["scope"], answer["total"]["rails"]) == ("module", ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"])
        assert pytest.approx(8711.2) == answer["total"]["mean_mw"]
    else:
        assert {"board", "backends", "sensors"} <= answer.keys()
        assert [sensor["name"] for sensor in answer["sensors"] if sensor["usable"]] == ["ina3221"]
