"""The dialects that are written, and which one this processor runs fastest."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal, get_args

from ..core.errors import Rejected
from .writer import Dialect

Target = Literal["here", "x86_64", "aarch64"]

ONNXRUNTIME_X86 = Dialect("onnxruntime-x86_64", is_unsigned=True, quantizes_bias=True)
ONNXRUNTIME_ARM = Dialect("onnxruntime-aarch64", is_unsigned=False, quantizes_bias=True)
TENSORRT = Dialect("tensorrt", is_unsigned=False, quantizes_bias=False)
TENSORRT_FLOAT8 = Dialect("tensorrt-fp8", is_unsigned=False, quantizes_bias=False, is_float8=True)
NARROW_WEIGHT_MAX = 63

_WITHOUT_SATURATION = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})


def target_named(name: str) -> Target:
    """`name` as a target.

    Raises:
        Rejected: ``target-unknown``.
    """
    for target in get_args(Target):
        if target == name:
            return target  # type: ignore[no-any-return] # one of Target's own words
    raise Rejected("target-unknown", f"there is no target {name!r}", f"Use one of: {', '.join(get_args(Target))}")


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
