"""The cost tables of a device: where they lie in the cache, and which of them hold here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..compression.search.costs import CostTable, read_sheet
from ..core.costs import CostSheet
from ..core.errors import Rejected
from ..engines.discovery import backend_statuses
from .cache import key_of
from .place import place_of

FOLDER = "costs"


def table_here(cache: Path | None, backend: str, threads: int, *, with_energy: bool = False) -> CostTable:
    """The table of this device, this `backend` and so many threads; kept in memory only when there is no `cache`."""
    device = key_of(place_of(backend, threads), with_energy)
    return CostTable.load(device, None if cache is None else cache / FOLDER / f"{device}.json")


def take_sheet(cache: Path, sheet: CostSheet) -> int:
    """Take in what an identical device has measured; what is known here stays. Returns how many costs were new.

    Raises:
        Rejected: ``costs-of-another-device``: it holds for nothing that runs here, with as many threads as there are cores or fewer.
    """
    for table in _tables_here(cache):
        if table.device == sheet.device:
            return table.merge(sheet)
    message = "the costs hold for no backend of this device: processor, driver, runtime and power mode have to be the same"
    raise Rejected("costs-of-another-device", message, "Measure here, or take them from an identical device")


def kept_sheets(cache: Path) -> Iterator[CostSheet]:
    """Every readable sheet in `cache`."""
    for path in sorted((cache / FOLDER).glob("*.json")):
        try:
            yield read_sheet(path)
        except Rejected:
            continue


def _tables_here(cache: Path) -> Iterator[CostTable]:
    for status in backend_statuses():
        if status.is_usable:
            for threads in range(1, (os.cpu_count() or 1) + 1):
                for with_energy in (False, True):
                    yield table_here(cache, status.name, threads, with_energy=with_energy)
