"""Finding chips among the kernel's hwmon devices: by name, never by number, and each once however many links lead to it.

A device is seen as ``/sys/class/hwmon/hwmonN`` and below its bus (``/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmonN``). Copied trees may
have either, or both as plain folders. The number moves between boots and when a driver is bound again; the I2C address does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..sysfs import Sysfs

_I2C_ADDRESS = re.compile(r"\d+-00[0-9a-f]{2}")
_HWMON = re.compile(r"hwmon\d+")
_CLASS = "sys/class/hwmon"
_DRIVERS = "sys/bus/i2c/drivers"
_DEVICES = "sys/bus/i2c/devices"


@dataclass(frozen=True, slots=True)
class Chip:
    """One hwmon device: the driver's `name`, the folder of its files, and its I2C address (``1-0040``) or ''."""

    name: str
    folder: str
    address: str

    @property
    def identity(self) -> str:
        """What stays the same when the number moves, where the bus says so."""
        return self.address or self.folder.rpartition("/")[2]


def find_chips(tree: Sysfs) -> tuple[Chip, ...]:
    """Every hwmon device, sorted by address and number."""
    found: dict[tuple[str, str], Chip] = {}
    for folder, driver in _candidates(tree):
        chip = _chip(tree, folder, driver)
        if chip is None:
            continue
        number = folder.rpartition("/")[2]
        twin = next((key for key in found if key[0] == number and (not key[1] or not chip.address or key[1] == chip.address)), None)
        if twin is None or (not twin[1] and chip.address):
            if twin is not None:
                del found[twin]
            found[number, chip.address] = chip
    return tuple(sorted(found.values(), key=lambda chip: (chip.address, chip.folder)))


def _candidates(tree: Sysfs) -> list[tuple[str, str]]:
    """(folder, driver's name where the path says it)."""
    found = [(f"{_CLASS}/{entry}", "") for entry in tree.list(_CLASS) if _HWMON.fullmatch(entry)]
    devices = [(f"{_DRIVERS}/{driver}/{entry}", driver) for driver in tree.list(_DRIVERS) for entry in tree.list(f"{_DRIVERS}/{driver}")]
    devices += [(f"{_DEVICES}/{entry}", "") for entry in tree.list(_DEVICES)]
    for device, driver in devices:
        if _I2C_ADDRESS.fullmatch(device.rpartition("/")[2]):
            found += [(f"{device}/hwmon/{entry}", driver) for entry in tree.list(f"{device}/hwmon") if _HWMON.fullmatch(entry)]
    return found


def _chip(tree: Sysfs, folder: str, driver: str) -> Chip | None:
    # Drivers before Linux 3.14 kept name and values in the device's folder.
    for place in (folder, f"{folder}/device"):
        if name := tree.text(f"{place}/name"):
            return Chip(name, place, _address(tree, folder))
    return Chip(driver, folder, _address(tree, folder)) if driver and tree.list(folder) else None


def _address(tree: Sysfs, folder: str) -> str:
    for path in (folder, tree.real(folder) or "", tree.real(f"{folder}/device") or ""):
        for part in reversed(path.split("/")):
            if _I2C_ADDRESS.fullmatch(part):
                return part
    return ""
