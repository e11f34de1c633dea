"""Which CUDA device this machine has, asked of the driver's own library: nothing has to be installed for the question.

"There is a driver" and "there is a device" are two questions; `CudaStatus.reason` answers with the first that fails.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """One device; `driver` is the newest CUDA that the driver serves, as ``12.6``."""

    name: str
    compute_capability: str
    driver: str

    @property
    def words(self) -> str:
        """What an engine is bound to."""
        return f"{self.name} (SM{self.compute_capability.replace('.', '')})"


@dataclass(frozen=True, slots=True)
class CudaStatus:
    """A device, or the reason why there is none."""

    device: CudaDevice | None
    reason: str = ""


@functools.cache
def cuda_status(index: int = 0) -> CudaStatus:
    """The device `index`; asked once per process, because a driver does not come and go."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return CudaStatus(None, f"there is no NVIDIA driver ({_LIBRARY} is not found)")
    code = library.cuInit(0)
    if code != 0:
        return CudaStatus(None, f"the NVIDIA driver does not start (cuInit: CUDA error {code})")
    count = ctypes.c_int()
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value <= index:
        return CudaStatus(None, f"the NVIDIA driver finds no CUDA device {index}")
    return CudaStatus(_read_device(library, index))


def _read_device(library: ctypes.CDLL, index: int) -> CudaDevice:
    device, major, minor, version = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    library.cuDriverGetVersion(ctypes.byref(version))
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return CudaDevice(name.value.decode("ascii", "replace"), f"{major.value}.{minor.value}", driver)
