"""Which board this is: device tree on Jetson and other ARM boards, DMI and ``/proc/cpuinfo`` on a PC."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Board:
    """`model` is for people; `compatible` the device tree's identifiers, most specific first; `release` JetPack's L4T line or ''."""

    model: str
    compatible: tuple[str, ...]
    processor: str
    release: str

    @property
    def is_jetson(self) -> bool:
        return any(entry.startswith("nvidia,tegra") for entry in self.compatible)


def read_board(root: Path = Path("/")) -> Board:
    """Identify the board below `root`; what is not there is an empty string."""
    compatible = tuple(part for part in _text(root / "proc/device-tree/compatible").split("\0") if part)
    model = _text(root / "proc/device-tree/model").rstrip("\0")
    if not model:
        vendor, product = (_text(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
        model = f"{vendor} {product}".strip() or (platform.machine() if root == Path("/") else "")
    release = next(iter(_text(root / "etc/nv_tegra_release").splitlines()), "").lstrip("# ")
    return Board(model, compatible, _processor(root), release)


def _processor(root: Path) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""
