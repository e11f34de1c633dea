"""What is asked of a distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Quantize = Literal["none", "onnxruntime", "tensorrt"]


class DistillOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to distil; None = the default, which for `losses` follows from the teacher and its data, for the limits is no limit.

    `student` is ``auto`` or a spec. `max_macs_ratio` bounds students that ``auto`` makes, as a share of the teacher's multiply-accumulates.
    """

    student: str = "auto"
    output: str | None = None
    losses: str | None = None
    labels: Path | None = None
    epochs: int = 60
    batch: int = 32
    rate: float = 3e-3
    seed: int = 0
    minutes: float | None = None
    threads: int = 1
    quantize: Quantize = "none"
    is_forward_only: bool = False
    max_latency_ms: float | None = None
    max_size_bytes: int | None = None
    max_macs_ratio: float = 0.25
