"""Never worse: runs what was written on this very runtime before it is handed on.

- The file's integer kernels are held against its own arithmetic in float (the same file without the runtime's fusions): a processor whose
  kernels compute something else is found out, whatever the documentation says.
- A repair is held against the file without it, on samples that the repair has not seen where there are some.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engines.feeds import cast_feeds, filled_feeds, fixed_batch
from ..engines.model import input_specs
from ..engines.ort.runner import open_on_cpu
from .collect import open_model
from .keep import KeptSamples

Array = npt.NDArray[Any]
MAX_SAMPLES = 32
KERNEL_LOSS_DB = 3.0
FAITHFUL_DB = 40.0
_MAX_DB = 200.0


@dataclass(frozen=True, slots=True)
class Verifier:
    """Compares models with the FP32 `model` on kept samples, those last that a repair is least likely to have seen."""

    model: Any
    kept: KeptSamples
    threads: int = 0

    def sqnr_db(self, written: bytes, *, with_kernels: bool = True) -> float:
        """The signal-to-noise ratio of the worst float output; without kernels the Q/DQ arithmetic is done in float."""
        specs = input_specs(self.model)
        fixed = fixed_batch(specs) or 1
        sums: dict[str, tuple[float, float]] = {}
        quantized = open_on_cpu(written, "the INT8 model", threads=self.threads, is_frugal=True, is_optimized=with_kernels)
        with open_model(self.model, self.threads) as exact, quantized:
            for position in self.kept.positions[-MAX_SAMPLES:]:
                feeds = filled_feeds(cast_feeds(self.kept.sample(position), specs), fixed)
                reference, found = exact.infer(feeds), quantized.infer(cast_feeds(feeds, quantized.inputs))
                for name, expected in reference.items():
                    if expected.dtype.kind == "f" and expected.shape == found[name].shape:
                        signal, noise = sums.get(name, (0.0, 0.0))
                        sums[name] = signal + _power(expected), noise + _power(expected - found[name])
        return min((decibels(signal, noise) for signal, noise in sums.values()), default=_MAX_DB)

    def kernel_fault(self, written: bytes, sqnr_db: float) -> str | None:
        """What to say when this processor's kernels lose more than rounding explains; `sqnr_db` is the file's with them."""
        if sqnr_db >= FAITHFUL_DB:
            return None
        exact = self.sqnr_db(written, with_kernels=False)
        if sqnr_db >= exact - KERNEL_LOSS_DB:
            return None
        return f"the INT8 kernels of this runtime compute something else here: {sqnr_db:.1f} dB where float arithmetic gives {exact:.1f} dB"


def _power(values: Array) -> float:
    wide = values.astype(np.float64)
    return float(np.vdot(wide, wide)) if np.isfinite(wide).all() else float("inf")


def decibels(signal: float, noise: float) -> float:
    """10·log10(signal / noise), between ±200."""
    if not math.isfinite(noise) or not signal:
        return -_MAX_DB if noise else _MAX_DB
    return max(-_MAX_DB, min(_MAX_DB, 10 * math.log10(signal / max(noise, 1e-30))))
