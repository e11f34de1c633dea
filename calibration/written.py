"""What a precision other than INT8 hands back, and how it is proven: on this very runtime, against the original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .keep import KeptSamples
from .plan import Skipped
from .verify import Verifier


@dataclass(frozen=True, slots=True)
class Written:
    """The file, how many nodes changed, and which were left in float32. `sqnr_db` is None where nothing was run."""

    path: Path
    changed: int
    kept: tuple[Skipped, ...]
    samples: int
    sqnr_db: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """The signal-to-noise ratio that was measured, and what there is to say about it."""

    sqnr_db: float
    notes: tuple[str, ...]


def proof(model: Any, data: bytes, kept: KeptSamples, threads: int, *, what: str, faithful_db: float, with_kernels: bool = True) -> Proof:
    """Run `data` against `model` on the kept samples; below `faithful_db` a note says so. Without kernels: as in `Verifier`."""
    sqnr_db = Verifier(model, kept, threads).sqnr_db(data, with_kernels=with_kernels)
    return Proof(sqnr_db, () if sqnr_db >= faithful_db else (f"{what} keeps only {sqnr_db:.1f} dB of this network",))
