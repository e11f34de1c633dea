"""From what was observed to a clip range: one function per method. Pure.

- ``minmax``: everything that was seen.
- ``percentile``: leaves out the outer 0.001 % on each side (99.999).

Every range includes zero, so that zero (padding, a ReLU's floor) has an exact code. A tensor of which nothing was seen gets zero alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .observers import Extremes, Histogram

PERCENT = 99.999


def minmax_range(extremes: Extremes, _histogram: Histogram | None) -> tuple[float, float]:
    return min(0.0, extremes.low), max(0.0, extremes.high)


def percentile_range(extremes: Extremes, histogram: Histogram | None) -> tuple[float, float]:
    """The range that leaves out at most 0.001 % of the values on either side, never wider than what was seen."""
    assert histogram is not None
    _, outer, counts = histogram.ascending()
    if not len(counts):
        return minmax_range(extremes, None)
    spare = counts.sum() * (1 - PERCENT / 100)
    low = outer[min(len(counts) - 1, int(np.searchsorted(np.cumsum(counts), spare, side="right")))]
    high = outer[len(counts) - 1 - min(len(counts) - 1, int(np.searchsorted(np.cumsum(counts[::-1]), spare, side="right")))]
    return max(min(0.0, extremes.low), min(0.0, float(low))), min(max(0.0, extremes.high), max(0.0, float(high)))


Method = Callable[[Extremes, Histogram | None], tuple[float, float]]
METHODS: dict[str, Method] = {"minmax": minmax_range, "percentile": percentile_range}
NEEDS_HISTOGRAM = frozenset(METHODS) - {"minmax"}
