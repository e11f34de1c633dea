"""pycuda's driver module on ordinary memory: addresses are real, copies are bounded, and what is used without a current context fails.

Only names that pycuda 2026.1 has (``src/wrapper/wrap_cudadrv.cpp``) exist here.
"""

from __future__ import annotations

import ctypes
import itertools
from types import ModuleType
from typing import Any

import numpy as np

CLOCK = itertools.count()


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001 - pycuda's own name
    pass


class Memory:
    """All allocations of one fake device, by address."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.limit_bytes = limit_bytes

    def add(self, size_bytes: int) -> int:
        used = sum(block.nbytes for block in self.blocks.values())
        if self.limit_bytes is not None and used + size_bytes > self.limit_bytes:
            raise MemoryError("cuMemAlloc failed: out of memory")
        block = np.zeros(size_bytes, np.uint8)
        self.blocks[block.ctypes.data] = block
        return int(block.ctypes.data)

    def read(self, address: int, size_bytes: int) -> bytes:
        assert self.blocks[address].nbytes >= size_bytes, "read past the end of an allocation"
        return self.blocks[address][:size_bytes].tobytes()

    def write(self, address: int, data: bytes) -> None:
        assert self.blocks[address].nbytes >= len(data), "write past the end of an allocation"
        self.blocks[address][: len(data)] = np.frombuffer(data, np.uint8)


class _HostAllocation:
    """The ``base`` of a pagelocked array."""

    def __init__(self, memory: Memory, shape: tuple[int, ...], dtype: Any, is_mapped: bool) -> None:
        self._address = memory.add(max(1, int(np.prod(shape)) * dtype.itemsize))
        self._is_mapped = is_mapped
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (self._address, False), "version": 3}

    def get_device_pointer(self) -> int:
        assert self._is_mapped, "cuMemHostGetDevicePointer of memory that is not mapped"
        return self._address


def make_driver(memory: Memory, *, is_integrated: bool = False, devices: int = 1) -> ModuleType:
    """A fresh ``pycuda.driver``; ``driver.depth`` counts pushed contexts, ``driver.retained`` retained ones."""
    driver = ModuleType("pycuda.driver")
    state: Any = driver
    state.depth, state.retained, state.is_initialised = 0, 0, False
    state.Error, state.MemoryError = Error, MemoryError

    def current() -> None:
        assert state.depth > 0, "no context is current"

    def init() -> None:
        if devices == 0:
            raise Error("cuInit failed: no CUDA-capable device is detected")
        state.is_initialised = True

    class Context:
        def push(self) -> None:
            state.depth += 1

        @staticmethod
        def pop() -> None:
            state.depth -= 1

        def detach(self) -> None:
            state.retained -= 1

    class Device:
        def __init__(self, index: int) -> None:
            assert state.is_initialised
            if index >= devices:
                raise Error("cuDeviceGet failed: invalid device ordinal")

        def retain_primary_context(self) -> Context:
            state.retained += 1
            return Context()

        def get_attribute(self, attribute: str) -> int:
            return int({"INTEGRATED": is_integrated}[attribute])

    class DeviceAllocation:
        def __init__(self, address: int) -> None:
            self._address = address

        def __int__(self) -> int:
            return self._address

        def __del__(self) -> None:
            memory.blocks.pop(self._address, None)

    class Stream:
        handle = 77

        def __init__(self) -> None:
            current()

        def synchronize(self) -> None:
            current()

    class Event:
        def record(self, stream: Stream) -> Event:
            current()
            self._at = next(CLOCK)
            return self

        def synchronize(self) -> Event:
            return self

        def time_till(self, other: Event) -> float:
            return float(other._at - self._at)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        current()
        return np.asarray(_HostAllocation(memory, tuple(shape), np.dtype(dtype), mem_flags == 2))

    def mem_alloc(size_bytes: int) -> DeviceAllocation:
        current()
        return DeviceAllocation(memory.add(size_bytes))

    def memcpy_htod(target: Any, source: Any) -> None:
        current()
        memory.write(int(target), source.tobytes())

    def memcpy_htod_async(target: Any, source: Any, stream: Stream) -> None:
        memcpy_htod(target, source)

    def memcpy_dtoh_async(target: Any, source: Any, stream: Stream) -> None:
        current()
        ctypes.memmove(target.ctypes.data, memory.read(int(source), target.nbytes), target.nbytes)

    for entry in (
        init, Context, Device, DeviceAllocation, Stream, Event, pagelocked_empty, mem_alloc, memcpy_htod, memcpy_htod_async, memcpy_dtoh_async,
    ):  # fmt: skip
        setattr(driver, entry.__name__, entry)
    state.host_alloc_flags = type("host_alloc_flags", (), {"DEVICEMAP": 2})
    state.device_attribute = type("device_attribute", (), {"INTEGRATED": "INTEGRATED"})
    return driver
