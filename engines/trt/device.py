"""The CUDA device through pycuda: one context, pinned buffers, a stream. The only file that imports pycuda.

Rules:
- the primary context is shared with whatever else uses the device in this process, pushed around each use and always released;
- on boards whose GPU shares the CPU's memory (Jetson) host buffers are mapped: the GPU reads and writes them in place, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import Unfit
from ..base import Array


@dataclass(frozen=True, slots=True)
class HostBuffer:
    """A pinned array and where the device sees it; `memory` is the device's own, None where the array is mapped."""

    array: Array
    address: int
    memory: Any | None

    @property
    def is_mapped(self) -> bool:
        return self.memory is None


class CudaDevice:
    """An opened device. A context manager for one use; `close` releases it for good."""

    def __init__(self, cuda: Any, index: int) -> None:
        self._cuda = cuda
        self._context: Any | None = None
        try:
            cuda.init()
            device = cuda.Device(index)
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise Unfit("backend-unavailable", f"pycuda finds no usable GPU: {error}", "Check the driver: edgewright doctor") from error
        self._is_integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's for a while."""
        if self._context is None:
            raise Unfit("model-closed", "the runner was closed", "Open the model again")
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def stream(self) -> Any:
        return self._cuda.Stream()

    def event(self) -> Any:
        return self._cuda.Event()

    def buffer(self, shape: tuple[int, ...], dtype: str) -> HostBuffer:
        """A pinned array with its memory on the device."""
        if self._is_integrated:
            array = self._cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=self._cuda.host_alloc_flags.DEVICEMAP)
            return HostBuffer(array, int(array.base.get_device_pointer()), None)
        array = self._cuda.pagelocked_empty(shape, np.dtype(dtype))
        memory = self.allocate(array.nbytes)
        return HostBuffer(array, int(memory), memory)

    def allocate(self, size_bytes: int) -> Any:
        """Memory on the device; freed with the object.

        Raises:
            Unfit: ``out-of-memory``.
        """
        try:
            return self._cuda.mem_alloc(max(1, size_bytes))
        except self._cuda.MemoryError as error:
            raise Unfit("out-of-memory", f"the GPU has no {size_bytes} bytes left", "Free memory, or use a smaller batch or model") from error

    def to_device(self, buffer: HostBuffer, stream: Any) -> None:
        if buffer.memory is not None:
            self._cuda.memcpy_htod_async(buffer.memory, buffer.array, stream)

    def to_host(self, buffer: HostBuffer, stream: Any) -> None:
        if buffer.memory is not None:
            self._cuda.memcpy_dtoh_async(buffer.array, buffer.memory, stream)

    def copy_out(self, array: Array, memory: Any, stream: Any) -> None:
        self._cuda.memcpy_dtoh_async(array, memory, stream)

    def copy_in(self, memory: Any, array: Array) -> None:
        self._cuda.memcpy_htod(memory, array)

    def close(self) -> None:
        if self._context is not None:
            self._context.detach()
            self._context = None


def open_device(index: int) -> CudaDevice:
    """Open the device `index` by pycuda.

    Raises:
        Unfit: ``backend-unavailable``.
    """
    return CudaDevice(load_pycuda(), index)


def load_pycuda() -> Any:
    """pycuda's driver module.

    Raises:
        Unfit: ``backend-unavailable``: not installed, or built for another driver.
    """
    try:
        from pycuda import driver
    except (ImportError, OSError) as error:
        hint = "Build it on this device: examples/install_jetson.sh, or pip install pycuda beside the CUDA toolkit"
        raise Unfit("backend-unavailable", f"pycuda cannot be loaded ({error})", hint) from error
    return driver


class DeviceUploads:
    """Batches for a calibrator: one allocation per input, used again for every batch."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._memory: dict[str, tuple[int, Any]] = {}

    def upload(self, name: str, values: Array) -> int:
        values = np.ascontiguousarray(values)
        size_bytes, memory = self._memory.get(name, (0, None))
        if memory is None or size_bytes < values.nbytes:
            memory = self._device.allocate(values.nbytes)
            self._memory[name] = (values.nbytes, memory)
        self._device.copy_in(memory, values)
        return int(memory)


@contextmanager
def open_uploads(index: int) -> Iterator[DeviceUploads]:
    """Device memory for calibration, with the device's context current until the build is over."""
    device = open_device(index)
    try:
        with device.current():
            yield DeviceUploads(device)
    finally:
        device.close()
