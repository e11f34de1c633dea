"""Statistics of repeated measurements: exact percentiles, order-statistic intervals, intervals of fractions. Pure, plain Python.

A percentile is refused below its minimum sample count: with fewer than 100 samples the 99th is only the maximum under another name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z95 = 1.959963984540054


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the ascending `ordered` do not exceed (nearest rank): a value that occurred."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[nearest_rank(len(ordered), percent) - 1]


def nearest_rank(count: int, percent: float) -> int:
    """The 1-based rank of a percentile among `count` ascending samples."""
    # Rounded first: 55 % of 100 is 55.00000000000001 in binary fractions, and must not become rank 56.
    return min(count, max(1, math.ceil(round(percent * count / 100, 6))))


def percentile_or_none(ordered: Sequence[float], percent: float) -> float | None:
    """`percentile`, or None below the minimum sample count of that percentile."""
    return percentile(ordered, percent) if len(ordered) >= min_samples(percent) else None


def min_samples(percent: float) -> int:
    """How many samples a percentile needs: at least ten, and so many that one lies beyond it (p99: 100)."""
    return max(10, math.ceil(round(100 / (100 - percent), 6))) if percent < 100 else 1


def percentile_interval(ordered: Sequence[float], percent: float) -> tuple[float, float] | None:
    """The distribution-free 95 % interval of a percentile from order statistics, or None where its ranks fall outside the sample.

    Normal approximation of the binomial rank, rounded outwards: David and Nagaraja, Order Statistics, 2003, §7.1.
    """
    count, share = len(ordered), percent / 100
    half = _Z95 * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - half), math.ceil(count * share + half) + 1
    if low < 1 or high > count:
        return None
    return ordered[low - 1], ordered[high - 1]


def mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("no samples")
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation (n - 1); 0 for one value."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def median(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("no samples")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def fraction_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927): right also at 0 and 1 and for small counts."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, _Z95 * _Z95
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
