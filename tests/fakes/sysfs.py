"""Copies of what boards show under ``/sys`` and ``/proc``: rails and values from logs of real devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def ina3221(root: Path, rails: Sequence[tuple[str, int, int]], *, number: int = 1, samples: int = 512, interval_ms: int = 430) -> Path:
    """An INA3221 as the hwmon driver shows it: (label, millivolts, milliamps) for channels 1, 2, 3; and a sum channel, which is no rail."""
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": "ina3221\n", f"{folder}/samples": f"{samples}\n", f"{folder}/update_interval": f"{interval_ms}\n"}
    for channel, (label, millivolts, milliamps) in enumerate(rails, 1):
        files |= {
            f"{folder}/in{channel}_label": f"{label}\n",
            f"{folder}/in{channel}_enable": "1\n",
            f"{folder}/in{channel}_input": f"{millivolts}\n",
            f"{folder}/curr{channel}_input": f"{milliamps}\n",
        }
    files |= {f"{folder}/in7_label": "sum of shunt voltages\n", f"{folder}/in7_input": "99\n"}
    return write(root, files)


def rapl(root: Path, zones: Mapping[str, tuple[str, int]], *, span_uj: int = 262_143_328_850) -> Path:
    """RAPL zones by folder name: (name, microjoules)."""
    files = {}
    for zone, (name, energy_uj) in zones.items():
        folder = f"sys/class/powercap/{zone}"
        files |= {f"{folder}/name": f"{name}\n", f"{folder}/energy_uj": f"{energy_uj}\n", f"{folder}/max_energy_range_uj": f"{span_uj}\n"}
    return write(root, files)


def orin_nano(root: Path) -> Path:
    """An Orin Nano with JetPack 6: 5.0 V · 1.06 A on VDD_IN."""
    write(
        root,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
            "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\n",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.4, GCID: 41062509, BOARD: generic\nother\n",
            "var/lib/nvpmodel/status": "pmode:0002\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "47312\n",
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "-256000\n",
            "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
            "sys/class/thermal/cooling_device0/cur_state": "2\n",
            "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert\n",
            "sys/class/thermal/cooling_device1/cur_state": "0\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1510400\n",
            "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
        },
    )
    return ina3221(root, [("VDD_IN", 5000, 1060), ("VDD_CPU_GPU_CV", 5000, 155), ("VDD_SOC", 5000, 285)])
