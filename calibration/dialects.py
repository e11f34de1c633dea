"""The dialects that are written, and which one this processor runs fastest."""

from __future__ import annotations

import platform
from pathlib import Path

from .writer import Dialect

ONNXRUNTIME_X86 = Dialect("onnxruntime-x86_64", is_unsigned=True, quantizes_bias=True)
ONNXRUNTIME_ARM = Dialect("onnxruntime-aarch64", is_unsigned=False, quantizes_bias=True)
TENSORRT = Dialect("tensorrt", is_unsigned=False, quantizes_bias=False)
NARROW_WEIGHT_MAX = 63

_WITHOUT_SATURATION = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})


def onnxruntime_dialect(machine: str | None = None, cpuinfo: Path = Path("/proc/cpuinfo")) -> Dialect:
    """ONNX Runtime's dialect for this processor.

    x86 without VNNI adds pairs of u8×s8 products in 16 bits and saturates: weights stay within 7 bits there.
    """
    if (machine or platform.machine()) in {"aarch64", "arm64"}:
        return ONNXRUNTIME_ARM
    if _cpu_flags(cpuinfo) & _WITHOUT_SATURATION:
        return ONNXRUNTIME_X86
    return Dialect(ONNXRUNTIME_X86.name, is_unsigned=True, quantizes_bias=True, weight_max=NARROW_WEIGHT_MAX)


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())
