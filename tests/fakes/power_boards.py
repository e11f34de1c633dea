"""Kernel trees of boards with power sensors: the files that a driver makes, with values that its hardware can show.

Written from the drivers' documentation. `BOARDS` are whole boards with the total that a person works out from the rails on paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Channel = tuple[str, int, int]  # label, mV, mA


def write(root: Path, path: str, text: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def device_tree(root: Path, *compatible: str, model: str = "") -> None:
    folder = root / "proc/device-tree"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compatible").write_bytes("\0".join(compatible).encode() + b"\0")
    (folder / "model").write_bytes(model.encode() + b"\0")


def hwmon_ina3221(root: Path, address: str, number: int, channels: Sequence[Channel | None], *, samples: int = 512, interval_ms: int = 430) -> str:
    """One INA3221 of JetPack 5 to 7; None is a channel that is not connected (label NC). Returns the folder below the root."""
    bus = address.partition("-")[0]
    real = f"sys/devices/platform/bus@0/c240000.i2c/i2c-{bus}/{address}/hwmon/hwmon{number}"
    write(root, f"{real}/name", "ina3221")
    write(root, f"{real}/samples", samples)
    write(root, f"{real}/update_interval", interval_ms)
    for index, channel in enumerate(channels, 1):
        label, millivolts, milliamps = channel or ("NC", 0, 0)
        write(root, f"{real}/in{index}_label", label)
        write(root, f"{real}/in{index}_enable", 1)
        write(root, f"{real}/in{index}_input", millivolts)
        write(root, f"{real}/curr{index}_input", milliamps)
        write(root, f"{real}/in{index + 3}_input", 760)
    write(root, f"{real}/in7_label", "sum of shunt voltages")
    write(root, f"{real}/in7_input", 760)
    write(root, f"{real}/curr4_input", 360)
    for link in (f"sys/class/hwmon/hwmon{number}", f"sys/bus/i2c/drivers/ina3221/{address}/hwmon/hwmon{number}"):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        # Absolute, as a tool that copies links literally leaves them.
        (root / link).symlink_to(f"/{real}")
    return real


def hwmon_chip(root: Path, number: int, name: str, files: Mapping[str, object]) -> None:
    for file, value in ({"name": name} | dict(files)).items():
        write(root, f"sys/class/hwmon/hwmon{number}/{file}", value)


def iio_ina3221x(root: Path, address: str, number: int | None, rails: Sequence[tuple[str, int] | None]) -> None:
    """One INA3221 of JetPack 4: label and mW per channel; None has no label file."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{address}/" + ("iio_device" if number is None else f"iio:device{number}")
    write(root, f"{folder}/name", "ina3221x")
    for index, rail in enumerate(rails):
        write(root, f"{folder}/in_power{index}_input", rail[1] if rail else 0)
        write(root, f"{folder}/in_voltage{index}_input", 5000)
        write(root, f"{folder}/in_current{index}_input", rail[1] // 5 if rail else 0)
        write(root, f"{folder}/crit_current_limit_{index}", "5000 ma")
        if rail is not None:
            write(root, f"{folder}/rail_name_{index}", rail[0])


def _tx1(root: Path) -> None:
    device_tree(root, "nvidia,p2371-2180", "nvidia,tegra210", model="jetson_tx1")
    iio_ina3221x(root, "1-0040", 0, [("VDD_IN", 2532), ("VDD_GPU", 19), ("VDD_CPU", 76)])
    iio_ina3221x(root, "1-0042", 1, [("VDD_MUX", 3100), ("VDD_5V_IO_SYS", 1800), ("VDD_3V3_SYS", 600)])
    iio_ina3221x(root, "1-0043", 2, [("VDD_3V3_IO", 110), ("VDD_1V8_IO", 90), ("VDD_M2_IN", 0)])


def _nano(root: Path) -> None:
    device_tree(root, "nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210")
    iio_ina3221x(root, "6-0040", 0, [("POM_5V_IN", 1388), ("POM_5V_GPU", 122), ("POM_5V_CPU", 163)])


def _tx2(root: Path) -> None:
    device_tree(root, "nvidia,p2771-0000", "nvidia,tegra186")
    iio_ina3221x(root, "0-0040", None, [("VDD_SYS_GPU", 152), ("VDD_SYS_SOC", 687), ("VDD_4V0_WIFI", 0)])
    iio_ina3221x(root, "0-0041", None, [("VDD_IN", 3056), ("VDD_SYS_CPU", 152), ("VDD_SYS_DDR", 883)])
    iio_ina3221x(root, "0-0042", None, [("VDD_MUX", 1400), ("VDD_5V0_IO_SYS", 900), ("VDD_3V3_SYS", 300)])
    iio_ina3221x(root, "0-0043", None, [("VDD_3V3_IO_SLP", 60), ("VDD_1V8_IO", 40), ("VDD_3V3_SYS_M2", 0)])


def _tx2_nx(root: Path) -> None:
    device_tree(root, "nvidia,p3509-0000+p3636-0001", "nvidia,tegra186")
    iio_ina3221x(root, "7-0040", 0, [("VDD_IN", 2290), ("VDD_CPU_GPU", 320), ("VDD_SOC", 800)])


def _xavier_nx_jp4(root: Path) -> None:
    device_tree(root, "nvidia,p3509-0000+p3668-0001", "nvidia,tegra194")
    iio_ina3221x(root, "7-0040", 0, [("VDD_IN", 4067), ("VDD_CPU_GPU_CV", 738), ("VDD_SOC", 1353)])


def _xavier_nx_jp5(root: Path) -> None:
    device_tree(root, "nvidia,p3509-0000+p3668-0001", "nvidia,tegra194")
    hwmon_ina3221(root, "7-0040", 6, [("VDD_IN", 5080, 800), ("VDD_CPU_GPU_CV", 5080, 144), ("VDD_SOC", 5080, 264)])


def _agx_xavier_jp4(root: Path) -> None:
    device_tree(root, "nvidia,p2972-0000", "nvidia,tegra194")
    iio_ina3221x(root, "1-0040", 0, [("GPU", 0), ("CPU", 311), ("SOC", 932)])
    iio_ina3221x(root, "1-0041", 1, [("CV", 0), ("VDDRQ", 621), ("SYS5V", 1482)])


def _agx_xavier_jp5(root: Path) -> None:
    device_tree(root, "nvidia,p2822-0000+p2888-0004", "nvidia,tegra194")
    hwmon_ina3221(root, "1-0040", 2, [("GPU", 19456, 24), ("CPU", 19456, 24), ("SOC", 19456, 64)])
    hwmon_ina3221(root, "1-0041", 3, [("CV", 19456, 0), ("VDDRQ", 19456, 16), ("SYS5V", 19456, 144)])


def _orin_nano(root: Path) -> None:
    device_tree(root, "nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234", model="NVIDIA Jetson Orin Nano Developer Kit")
    hwmon_ina3221(root, "1-0040", 1, [("VDD_IN", 4984, 1856), ("VDD_CPU_GPU_CV", 4984, 400), ("VDD_SOC", 4984, 480)])
    hwmon_chip(root, 3, "soctherm_oc", {"oc1_event_cnt": 0, "oc2_event_cnt": 0, "oc3_event_cnt": 27390, "oc3_throt_en": 1})
    hwmon_chip(root, 0, "pwmfan", {"pwm1": 77})


def _orin_nx(root: Path) -> None:
    device_tree(root, "nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234")
    hwmon_ina3221(root, "1-0040", 4, [("VDD_IN", 5000, 1064), ("VDD_CPU_GPU_CV", 5000, 152), ("VDD_SOC", 5000, 288)])


def _agx_orin_12v(root: Path) -> None:
    device_tree(root, "nvidia,p3737-0000+p3701-0005", "nvidia,tegra234", model="NVIDIA Jetson AGX Orin Developer Kit")
    hwmon_ina3221(root, "1-0040", 3, [("VDD_GPU_SOC", 12008, 280), ("VDD_CPU_CV", 12008, 40), ("VIN_SYS_5V0", 4968, 980)])
    hwmon_ina3221(root, "1-0041", 4, [None, ("VDDQ_VDD2_1V8AO", 4968, 80), None])


def _agx_orin_19v(root: Path) -> None:
    device_tree(root, "nvidia,p3737-0000+p3701-0000", "nvidia,tegra234")
    hwmon_ina3221(root, "1-0041", 2, [None, ("VDDQ_VDD2_1V8AO", 4968, 120), None])
    hwmon_ina3221(root, "1-0040", 5, [("VDD_GPU_SOC", 19864, 180), ("VDD_CPU_CV", 19864, 220), ("VIN_SYS_5V0", 4960, 960)])


def _thor_rails(root: Path, gpu_ma: int) -> None:
    device_tree(root, "nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264")
    hwmon_ina3221(root, "2-0040", 3, [("VDD_GPU", 19600, gpu_ma), ("VDD_CPU_SOC_MSS", 19600, 380), ("VIN_SYS_5V0", 4992, 1260)])


def _thor(root: Path) -> None:
    _thor_rails(root, 280)
    hwmon_chip(root, 5, "ina238", {"label": "VIN", "power1_input": 28548000, "in1_input": 19600, "in0_input": 3, "curr1_input": 1456})


def _thor_gated(root: Path) -> None:
    _thor_rails(root, -20)


def _laptop(root: Path) -> None:
    write(root, "sys/class/dmi/id/product_name", "Laptop")
    for name, value in (("type", "Battery"), ("status", "Discharging"), ("voltage_now", 12_000_000), ("current_now", -700_000)):
        write(root, f"sys/class/power_supply/BAT0/{name}", value)
    for name, value in (("type", "USB"), ("voltage_now", 20_000_000), ("current_now", 3_000_000)):
        write(root, f"sys/class/power_supply/ucsi-source-psy-USBC000:001/{name}", value)


def _metered_server(root: Path) -> None:
    hwmon_chip(root, 2, "ina226", {"power1_input": 41_500_000})
    write(root, "etc/edgewright/power.toml", '[total]\nrails = ["ina226 power1"]\nscope = "board"')


@dataclass(frozen=True, slots=True)
class PowerBoard:
    """`total_mw` was added up by hand from the rails that count."""

    name: str
    build: Callable[[Path], None]
    total_mw: float
    scope: str
    labels: tuple[str, ...]


_AGX_XAVIER = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")
_AGX_ORIN = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
_THOR = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
BOARDS = (
    PowerBoard("tx1_jp4", _tx1, 2532, "module", ("VDD_IN",)),
    PowerBoard("nano_jp4", _nano, 1388, "module", ("POM_5V_IN",)),
    PowerBoard("tx2_jp4", _tx2, 3056, "module", ("VDD_IN",)),
    PowerBoard("tx2_nx_jp4", _tx2_nx, 2290, "module", ("VDD_IN",)),
    PowerBoard("xavier_nx_jp4", _xavier_nx_jp4, 4067, "module", ("VDD_IN",)),
    PowerBoard("xavier_nx_jp5", _xavier_nx_jp5, 4064, "module", ("VDD_IN",)),
    PowerBoard("agx_xavier_jp4", _agx_xavier_jp4, 0 + 311 + 932 + 0 + 621 + 1482, "module", _AGX_XAVIER),
    PowerBoard("agx_xavier_jp5", _agx_xavier_jp5, 19.456 * (24 + 24 + 64 + 0 + 16 + 144), "module", _AGX_XAVIER),
    PowerBoard("orin_nano_jp6", _orin_nano, 9250.304, "module", ("VDD_IN",)),
    PowerBoard("orin_nx_jp6", _orin_nx, 5320, "module", ("VDD_IN",)),
    PowerBoard("agx_orin_jp6_12v", _agx_orin_12v, 3362.24 + 480.32 + 4868.64, "module", _AGX_ORIN),
    PowerBoard("agx_orin_jp6_19v", _agx_orin_19v, 3575.52 + 4370.08 + 4761.6, "module", _AGX_ORIN),
    PowerBoard("thor_jp7", _thor, 28548, "board", ("VIN",)),
    PowerBoard("thor_jp7_gated", _thor_gated, -392 + 7448 + 6289.92, "module", _THOR),
    PowerBoard("laptop_on_battery", _laptop, 8400, "board", ("BAT0",)),
    PowerBoard("server_with_rail_map", _metered_server, 41500, "board", ("ina226 power1",)),
)
