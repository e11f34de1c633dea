"""What is kept of a tensor while samples stream by: constant memory, and independent of the order of the samples.

`Histogram` counts the upper 16 bits of each float32: sign, exponent and seven bits of mantissa. So its bins need no range in advance,
are never rebinned, merge exactly, and are narrower than 0.8 % of their value everywhere. Extremes are those of all values; of a large tensor the
histogram counts part, evenly spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 1 << 16
HISTOGRAM_VALUES = 4096
_COUNTED_AT_ONCE = 1 << 16

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Ascending = tuple[Doubles, Doubles, Counts]


@dataclass(slots=True)
class Extremes:
    """Smallest and largest value seen."""

    low: float = float("inf")
    high: float = float("-inf")

    def add(self, values: npt.NDArray[Any], peak: npt.NDArray[Any] | None = None) -> bool:
        """`peak` holds the largest values of what `values` are part of. Returns False, and keeps what it was, when NaN or infinity is there."""
        low, high = float(values.min()), float((values if peak is None else peak).max())
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        return True


class Histogram:
    """Counts per 16-bit code; 512 KiB each, and 128 KiB of codes that are not counted yet."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(BINS, np.int64)
        self._waiting: list[npt.NDArray[np.uint16]] = []
        self._waiting_values = 0
        self._ascending: Ascending | None = None

    def add(self, values: npt.NDArray[np.float32]) -> None:
        codes = (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16).reshape(-1)
        self._waiting.append(codes)
        self._waiting_values += codes.size
        if self._waiting_values >= _COUNTED_AT_ONCE:
            self._count()

    @property
    def counts(self) -> Counts:
        self._count()
        return self._counts

    def ascending(self) -> Ascending:
        """The occupied bins in ascending order of value: inner and outer edge (nearer to and farther from zero), and counts."""
        self._count()
        if self._ascending is None:
            codes = np.flatnonzero(self._counts)
            inner, outer = edge_values(codes), edge_values(codes + 1)
            order = np.argsort(inner, kind="stable")
            self._ascending = inner[order], outer[order], self._counts[codes][order]
        return self._ascending

    def _count(self) -> None:
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=BINS)
            self._waiting, self._waiting_values, self._ascending = [], 0, None


def thinned(values: npt.NDArray[Any], samples: int) -> npt.NDArray[Any]:
    """Of each of `samples` at most `HISTOGRAM_VALUES` values, evenly spread, whatever batch they came in."""
    step = -(-values.size // (samples * HISTOGRAM_VALUES))
    if step <= 1:
        return values
    # An odd step falls on every place and channel in turn, whose numbers are mostly even.
    return values.reshape(samples, -1)[:, :: step | 1]


@dataclass(frozen=True, slots=True)
class Maxima:
    """The largest value per channel in each sample: over samples the largest of them, their mean and their standard deviation."""

    peak: Doubles
    mean: Doubles
    deviation: Doubles


@dataclass(slots=True)
class _MaximaSums:
    peak: Doubles
    sum: Doubles
    squares: Doubles

    @classmethod
    def nothing(cls, channels: int) -> _MaximaSums:
        return cls(np.full(channels, -np.inf), np.zeros(channels), np.zeros(channels))

    def add(self, maxima: Doubles) -> None:
        self.peak = np.maximum(self.peak, maxima.max(axis=0))
        self.sum += maxima.sum(axis=0)
        self.squares += (maxima**2).sum(axis=0)

    def over(self, samples: int) -> Maxima:
        mean = self.sum / samples
        return Maxima(self.peak, mean, np.sqrt(np.maximum(self.squares / samples - mean**2, 0)))


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Per channel of a tensor: the maxima of the values and of their negatives, and the mean square."""

    high: Maxima
    negative: Maxima
    power: Doubles


class ChannelExtremes:
    """Adds up batches of a tensor whose axis 1 counts the channels."""

    def __init__(self) -> None:
        self._high: _MaximaSums | None = None
        self._negative: _MaximaSums | None = None
        self._power: Doubles | float = 0.0
        self._samples = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        places = values.reshape(*values.shape[:2], -1)
        if self._high is None or self._negative is None:
            self._high, self._negative = _MaximaSums.nothing(values.shape[1]), _MaximaSums.nothing(values.shape[1])
        self._high.add(places.max(axis=2).astype(np.float64))
        self._negative.add(-places.min(axis=2).astype(np.float64))
        self._power = self._power + np.einsum("ncp,ncp->c", places, places).astype(np.float64) / places.shape[2]
        self._samples += len(values)

    def statistics(self) -> ChannelStatistics:
        """Only after something was added."""
        assert self._high is not None
        assert self._negative is not None
        return ChannelStatistics(self._high.over(self._samples), self._negative.over(self._samples), np.asarray(self._power) / self._samples)


def edge_values(codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The float32 values whose upper 16 bits are `codes`, and lower ones zero."""
    magnitude = (codes.astype(np.uint32) << 16).view(np.float32)
    return magnitude.astype(np.float64)
