"""In which steps this processor rewards fewer channels."""

from __future__ import annotations

import platform


def channel_step(machine: str | None = None) -> int:
    """ONNX Runtime's blocked convolutions take channels by 16 on x86-64 with AVX-512 (by 8 with AVX2); ARM and tensor cores by 8."""
    return 16 if (machine or platform.machine()) in {"x86_64", "AMD64"} else 8
