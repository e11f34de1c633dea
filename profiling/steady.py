"""Whether a series of latencies has settled: no trend over ten blocks, and a slope known well enough to say so. Pure.

Both are asked, because either alone is fooled: a test for a trend finds nothing in much noise, and a small slope may be luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.statistics import mean

BLOCKS = 10
MAX_SLOPE_PERCENT_PER_MIN = 0.5
MAX_SLOPE_ERROR_PERCENT_PER_MIN = 0.3
_Z_TREND = 1.96


@dataclass(frozen=True, slots=True)
class Drift:
    """`steady` None = too short or too noisy to say. `trend_z` is Mann and Kendall's statistic over the blocks."""

    percent_per_min: float
    error_percent_per_min: float
    trend_z: float
    steady: bool | None


def drift_of(times_s: Sequence[float], values: Sequence[float]) -> Drift | None:
    """The drift of `values` measured at ascending `times_s`; None with fewer than two values per block."""
    size = len(values) // BLOCKS
    if size < 2 or times_s[-1] <= times_s[0]:
        return None
    # Left-over values at the front belong to the warm-up's end.
    first = len(values) - size * BLOCKS
    starts = range(first, len(values), size)
    blocks = [mean(values[start : start + size]) for start in starts]
    minutes = [mean(times_s[start : start + size]) / 60 for start in starts]
    middle = mean(blocks)
    if middle <= 0:
        return None
    slope, error = (100 * number / middle for number in _line(minutes, blocks))
    trend = mann_kendall(blocks)
    steady: bool | None = abs(slope) < MAX_SLOPE_PERCENT_PER_MIN and abs(trend) < _Z_TREND
    if steady and error > MAX_SLOPE_ERROR_PERCENT_PER_MIN:
        steady = None
    return Drift(slope, error, trend, steady)


def mann_kendall(values: Sequence[float]) -> float:
    """The standard normal statistic of a monotone trend (Kendall 1975), without a correction for ties."""
    count = len(values)
    score = sum((values[late] > values[early]) - (values[late] < values[early]) for early in range(count) for late in range(early + 1, count))
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return 0.0 if score == 0 else (score - math.copysign(1, score)) / deviation


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error."""
    middle_x, middle_y = mean(xs), mean(ys)
    spread = math.fsum((x - middle_x) ** 2 for x in xs)
    slope = math.fsum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread
    rest = math.fsum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return slope, math.sqrt(rest / (len(xs) - 2) / spread)
