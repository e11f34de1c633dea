"""Where a time was measured: what was decided by the clock holds there and nowhere else."""

from __future__ import annotations

from ..engines.device import local_driver, local_processor
from ..engines.discovery import load_backend
from ..profiling.board import read_board
from ..profiling.conditions import power_mode
from ..profiling.sysfs import Sysfs
from .cache import key_of


def place_of(backend: str, threads: int) -> str:
    """The digest of a usable backend and its version, the processor, driver and power mode below it, and how many threads run."""
    capabilities, board = load_backend(backend).capabilities(), read_board()
    processor, driver = local_processor(capabilities, board), local_driver(capabilities, board)
    return key_of(processor, driver, backend, capabilities.version, power_mode(Sysfs()) or "", threads)
