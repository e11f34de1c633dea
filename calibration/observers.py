"""What is kept of a tensor while samples stream by: constant memory, and independent of the order of the samples.

`Histogram` counts the upper 16 bits of each float32: sign, exponent and seven bits of mantissa. So its bins need no range in advance,
are never rebinned, merge exactly, and are narrower than 0.8 % of their value everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 1 << 16

Counts = npt.NDArray[np.int64]


@dataclass(slots=True)
class Extremes:
    """Smallest and largest value seen."""

    low: float = float("inf")
    high: float = float("-inf")

    def add(self, values: npt.NDArray[Any]) -> bool:
        """Returns False, and keeps what it was, when NaN or infinity is among `values`."""
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        return True


@dataclass(slots=True)
class Histogram:
    """Counts per 16-bit code; 512 KiB each."""

    counts: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        codes = np.ascontiguousarray(values).view(np.uint32) >> 16
        self.counts += np.bincount(codes.reshape(-1), minlength=BINS)

    def ascending(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Counts]:
        """The occupied bins in ascending order of value: inner and outer edge (nearer to and farther from zero), and counts."""
        codes = np.flatnonzero(self.counts)
        counts = self.counts[codes]
        inner = edge_values(codes)
        outer = edge_values(codes + 1)
        order = np.argsort(inner, kind="stable")
        return inner[order], outer[order], counts[order]


@dataclass(slots=True)
class ChannelMeans:
    """The mean of each channel over samples and places; `axis` counts the channels."""

    axis: int
    count: int = 0
    _sums: npt.NDArray[np.float64] | None = None

    def add(self, values: npt.NDArray[Any]) -> None:
        others = tuple(axis for axis in range(values.ndim) if axis != self.axis % values.ndim)
        sums = values.sum(axis=others, dtype=np.float64)
        self._sums = sums if self._sums is None else self._sums + sums
        self.count += values.size // max(1, len(sums))

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """One mean per channel; only after something was added."""
        assert self._sums is not None
        return self._sums / self.count


def edge_values(codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The float32 values whose upper 16 bits are `codes`, and lower ones zero."""
    magnitude = (codes.astype(np.uint32) << 16).view(np.float32)
    return magnitude.astype(np.float64)
