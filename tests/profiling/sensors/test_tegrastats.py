"""Lines of tegrastats from logs of every era."""

from __future__ import annotations

import os

import pytest
from edgewright.profiling.sensors.tegrastats import SENSOR, parse_tegrastats
from edgewright.profiling.sysfs import Sysfs

TX1 = (
    "RAM 1179/3983MB (lfb 120x4MB) IRAM 0/252kB(lfb 252kB) CPU [1%@102,4%@102,0%@102,0%@102] EMC_FREQ 7%@408 GR3D_FREQ 0%@76 APE 25 AO@42.5C "
    "CPU@37.5C GPU@39C PLL@37C Tdiode@42.75C PMIC@100C Tboard@42C thermal@38.5C VDD_IN 2532/2698 VDD_CPU 76/178 VDD_GPU 19/19"
)
LINES = [
    (TX1, {"VDD_IN": 2532, "VDD_CPU": 76, "VDD_GPU": 19}),
    ("SWAP 0/512MB VDD_SYS_GPU 152/152 VDD_4V0_WIFI 0/0 VDD_IN 3056/3056", {"VDD_SYS_GPU": 152, "VDD_4V0_WIFI": 0, "VDD_IN": 3056}),
    ("POM_5V_IN 1022/1022 POM_5V_GPU 0/0 POM_5V_CPU 204/204", {"POM_5V_IN": 1022, "POM_5V_GPU": 0, "POM_5V_CPU": 204}),
    (
        "GPU@54.5C CPU@52C PMIC@50C GPU 18401/18525 CPU 2301/2330 SOC 4602/4602 CV 0/0 VDDRQ 2914/2911 SYS5V 4632/4620",
        {"GPU": 18401, "CPU": 2301, "SOC": 4602, "CV": 0, "VDDRQ": 2914, "SYS5V": 4632},
    ),
    (
        (
            "01-31-2024 10:11:12 RAM 3000/15388MB (lfb 2x4MB) CPU [5%@729,off,off] EMC_FREQ 0% GR3D_FREQ 0%@[305,305] NVENC off VIC off cv0@-256C "
            "tj@49.281C VDD_IN 5299mW/5299mW VDD_CPU_GPU_CV 773mW/773mW VDD_SOC 1424mW/1424mW"
        ),
        {"VDD_IN": 5299, "VDD_CPU_GPU_CV": 773, "VDD_SOC": 1424},
    ),
    ("VDD_GPU_SOC 3205mW/3205mW VDD_CPU_CV 4405mW/4405mW VIN_SYS_5V0 4767mW/4767mW", {"VDD_GPU_SOC": 3205, "VDD_CPU_CV": 4405, "VIN_SYS_5V0": 4767}),
    ("GR3D_FREQ @[314,314,314] cpu@34.312C/34.843C VDD_GPU 0mW/0mW VIN 25530mW/12765mW", {"VDD_GPU": 0, "VIN": 25530}),
    ("VDD_GPU -392mW VDD_CPU_SOC_MSS 7953mW/8332mW/8710mW", {"VDD_GPU": -392, "VDD_CPU_SOC_MSS": 7953}),
]


@pytest.mark.parametrize(("line", "rails"), LINES)
def test_the_first_number_of_each_rail_is_its_power_now(line, rails):
    assert parse_tegrastats(line) == rails


@pytest.mark.parametrize("line", ["", "RAM", "no power here", "\0" * 100, "VDD_IN", "VDD_IN x/y", "A " * 5000])
def test_other_lines_have_no_rails(line):
    assert parse_tegrastats(line) == {}


def test_the_program_is_followed_and_ended(tmp_path, monkeypatch):
    program = tmp_path / "tegrastats"
    program.write_text("#!/bin/sh\necho 'VDD_IN 5299mW/5299mW VDD_SOC 1424mW/1424mW'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tree = Sysfs()

    assert SENSOR.unavailable(tree) is None
    rails = SENSOR.rails(tree)
    readings = SENSOR.open(tree, rails)
    try:
        assert readings.read() == [5299.0, 1424.0]
    finally:
        readings.close()

    assert readings.process.returncode is not None
