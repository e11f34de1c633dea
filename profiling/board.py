"""Which board this is: device tree on Jetson and other ARM boards, DMI and ``/proc/cpuinfo`` on a PC."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from .sysfs import Sysfs

_SOC = re.compile(r"nvidia,(tegra\d+)")
_MODULE = re.compile(r"(?<![a-z0-9])(p\d{4})-\d{4}")


@dataclass(frozen=True, slots=True)
class Board:
    """`model` is for people; `compatible` the device tree's identifiers, most specific first; `release` JetPack's L4T line or ''."""

    model: str
    compatible: tuple[str, ...]
    processor: str
    release: str

    @property
    def is_jetson(self) -> bool:
        return self.soc is not None

    @property
    def soc(self) -> str | None:
        """``tegra234`` and the like; None for what is no Jetson."""
        found = (_SOC.fullmatch(entry) for entry in self.compatible)
        return next((match.group(1) for match in found if match), None)

    @property
    def parts(self) -> tuple[str, ...]:
        """NVIDIA's part numbers of carrier and module without their variants (``p3768``, ``p3767``)."""
        return tuple(dict.fromkeys(part for entry in self.compatible for part in _MODULE.findall(entry)))


def read_board(root: Path = Path("/")) -> Board:
    """Identify the board below `root`; what is not there is an empty string."""
    tree = Sysfs(root)
    compatible = next((text for path in _device_tree("compatible") if (text := tree.text(path))), "")
    model = next((text for path in _device_tree("model") if (text := tree.text(path))), "").rstrip("\0")
    if not model:
        vendor, product = (tree.text(f"sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name"))
        model = f"{vendor} {product}".strip() or (platform.machine() if tree.is_this_machine else "")
    release = next(iter((tree.text("etc/nv_tegra_release") or "").splitlines()), "").lstrip("# ")
    # The kernel separates the identifiers by NUL; people who copy a tree often by spaces or lines.
    return Board(model, tuple(re.split(r"[\0\s]+", compatible.strip("\0 \n"))) if compatible.strip("\0 \n") else (), _processor(root), release)


def _device_tree(name: str) -> tuple[str, str]:
    return f"proc/device-tree/{name}", f"sys/firmware/devicetree/base/{name}"


def _processor(root: Path) -> str:
    """The first processor's name; ``/proc/cpuinfo`` of a server is longer than what one look reads, and repeats itself."""
    for line in (Sysfs(root).text("proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return ""
