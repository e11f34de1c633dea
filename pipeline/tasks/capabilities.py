"""The task ``capabilities``: what this device has, asked in a child because the answer needs every runtime imported."""

from __future__ import annotations

import msgspec

from ...core.wire.messages import Runtime
from ...engines.cuda import cuda_status
from ...engines.discovery import backend_statuses
from ...profiling.board import read_board
from ...profiling.survey import sensor_statuses
from ...profiling.sysfs import Sysfs
from ..child import Progress


class CapabilitiesResult(msgspec.Struct, frozen=True):
    """Board, backends and sensors, usable or with their reasons; `driver` is JetPack's release and the CUDA driver's, empty without them."""

    board: str
    processor: str
    backends: tuple[Runtime, ...]
    sensors: tuple[Runtime, ...]
    driver: str = ""


def run(request: bytes, progress: Progress) -> bytes:
    del request
    progress(0.0, "looking at this device")
    board = read_board()
    backends = tuple(
        Runtime(name=status.name, usable=status.is_usable, version=status.version, reason=status.reason) for status in backend_statuses()
    )
    sensors = tuple(Runtime(name=status.name, usable=status.is_usable, reason=status.reason) for status in sensor_statuses(Sysfs()))
    device = cuda_status().device
    driver = "; ".join(part for part in (board.release, f"CUDA {device.driver}" if device is not None else "") if part)
    return msgspec.json.encode(CapabilitiesResult(board.model, board.processor, backends, sensors, driver))
