"""From what was observed to a clip range: one function per method. Pure.

- ``minmax``: everything that was seen.
- ``percentile``: leaves out the outer 0.001 % on each side (99.999).
- ``entropy``: the clip whose 128 levels lose the least information about the magnitudes (Kullback-Leibler, as TensorRT's calibrator).
- ``mse``: the least mean squared error of the codes: rounding inside the range against cutting outside of it.
- ``auto``: of these four the one with the least predicted mean squared error; the widest of those within 1 % of it.

Every range includes zero, so that zero (padding, a ReLU's floor) has an exact code. A tensor of which nothing was seen gets zero alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..core.errors import Rejected
from .observers import Extremes, Histogram

Interval = tuple[float, float]
Doubles = npt.NDArray[np.float64]
MethodName = Literal["auto", "percentile", "entropy", "mse", "minmax"]

PERCENT = 99.999
STEPS = 255
_SHARES = np.concatenate([np.arange(1.0, 0.5, -0.02), np.arange(0.5, 0.05, -0.05)])
_BINS, _LEVELS = 2048, 128


def minmax_range(extremes: Extremes, _histogram: Histogram | None) -> Interval:
    return min(0.0, extremes.low), max(0.0, extremes.high)


def percentile_range(extremes: Extremes, histogram: Histogram | None) -> Interval:
    """The range that leaves out at most 0.001 % of the values on either side, never wider than what was seen."""
    assert histogram is not None
    _, outer, counts = histogram.ascending()
    if not len(counts):
        return minmax_range(extremes, None)
    spare = counts.sum() * (1 - PERCENT / 100)
    low = outer[min(len(counts) - 1, int(np.searchsorted(np.cumsum(counts), spare, side="right")))]
    high = outer[len(counts) - 1 - min(len(counts) - 1, int(np.searchsorted(np.cumsum(counts[::-1]), spare, side="right")))]
    return max(min(0.0, extremes.low), min(0.0, float(low))), min(max(0.0, extremes.high), max(0.0, float(high)))


def mse_range(extremes: Extremes, histogram: Histogram | None) -> Interval:
    """The ends, in steps of 2 % of what was seen, with the least predicted error."""
    assert histogram is not None
    low, high = minmax_range(extremes, None)
    values, counts = _values(histogram)
    if not len(counts) or low == high:
        return low, high
    lows = low * _SHARES if low < 0 else np.zeros(1)
    highs = high * _SHARES if high > 0 else np.zeros(1)
    cut_low, cut_high = _cut(-values, counts, -lows), _cut(values, counts, highs)
    total = float(counts.sum())
    step = (highs[None, :] - lows[:, None]) / STEPS
    rounding = np.interp(step / 2, *_below(values, counts)) + step**2 / 12 * (total - np.interp(step / 2, *_inside(values, counts)))
    errors = rounding + cut_low[:, None] + cut_high[None, :]
    # A range of zero width cuts everything: its error is the power, which is never the least.
    best = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def predicted_error(interval: Interval, histogram: Histogram) -> float:
    """The sum of squared errors of 255 steps over `interval` on what was seen; values below half a step are lost whole."""
    values, counts = _values(histogram)
    step = max(interval[1] - interval[0], 0.0) / STEPS
    cut = np.maximum(values - interval[1], 0) + np.maximum(interval[0] - values, 0)
    inside = np.minimum(values**2, step**2 / 12) * (cut == 0)
    return float((counts * (cut**2 + inside)).sum())


def entropy_range(extremes: Extremes, histogram: Histogram | None) -> Interval:
    assert histogram is not None
    low, high = minmax_range(extremes, None)
    values, counts = _values(histogram)
    reach = max(-low, high)
    if not len(counts) or reach <= 0:
        return low, high
    bins = np.minimum((np.abs(values) / reach * _BINS).astype(np.int64), _BINS - 1)
    linear: Doubles = np.bincount(bins, weights=counts.astype(np.float64), minlength=_BINS).astype(np.float64)
    clip = reach * min((_divergence(linear, stop), -stop) for stop in range(_LEVELS, _BINS + 1, 16))[1] / -_BINS
    return max(low, -clip), min(high, clip)


def auto_range(extremes: Extremes, histogram: Histogram | None) -> Interval:
    assert histogram is not None
    tried = [minmax_range(extremes, histogram), percentile_range(extremes, histogram), mse_range(extremes, histogram)]
    if _has_long_tail(histogram, extremes):
        tried.append(entropy_range(extremes, histogram))
    errors = [predicted_error(interval, histogram) for interval in tried]
    near = [interval for interval, error in zip(tried, errors, strict=True) if error <= min(errors) * 1.01]
    return max(near, key=lambda interval: interval[1] - interval[0])


def _has_long_tail(histogram: Histogram, extremes: Extremes) -> bool:
    """Whether the largest value is beyond twelve times the root mean square: where cutting by information may win."""
    values, counts = _values(histogram)
    power = float((counts * values**2).sum()) / max(float(counts.sum()), 1.0)
    return bool(max(-extremes.low, extremes.high) > 12 * power**0.5)


def _values(histogram: Histogram) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """The middles of the occupied bins in ascending order, without exact zeros, which every range codes exactly."""
    inner, outer, counts = histogram.ascending()
    keep = inner != 0
    return (inner[keep] + outer[keep]) / 2, counts[keep]


def _cut(values: Doubles, counts: npt.NDArray[np.int64], ends: Doubles) -> Doubles:
    """The squared error that cutting at each of `ends` ≥ 0 causes above it: Σ n(v − e)² over v > e, by cumulative sums."""
    order = np.argsort(values)
    v, n = values[order], counts[order].astype(np.float64)
    sums = [np.concatenate([np.cumsum(term[::-1])[::-1], [0.0]]) for term in (n, n * v, n * v * v)]
    first = np.searchsorted(v, ends, side="right")
    return np.asarray(sums[2][first] - 2 * ends * sums[1][first] + ends**2 * sums[0][first])


def _below(values: Doubles, counts: npt.NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    """Σ n v² over |v| ≤ x, as a function to interpolate in x."""
    order = np.argsort(np.abs(values))
    v, n = np.abs(values)[order], counts[order]
    return np.concatenate([[0.0], v]), np.concatenate([[0.0], np.cumsum(n * v * v)])


def _inside(values: Doubles, counts: npt.NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    order = np.argsort(np.abs(values))
    return np.concatenate([[0.0], np.abs(values)[order]]), np.concatenate([[0.0], np.cumsum(counts[order]).astype(np.float64)])


def _divergence(linear: Doubles, stop: int) -> float:
    """How much `_LEVELS` levels over the first `stop` bins lose of the distribution that is cut there."""
    cut = linear[:stop].copy()
    cut[-1] += linear[stop:].sum()
    level = np.arange(stop) * _LEVELS // stop
    is_full = linear[:stop] > 0
    totals = np.bincount(level, weights=linear[:stop], minlength=_LEVELS)
    occupied = np.bincount(level, weights=is_full, minlength=_LEVELS)
    coarse = np.where(is_full, (totals / np.maximum(occupied, 1))[level], 0.0)
    p, q = cut / max(cut.sum(), 1.0), coarse / max(coarse.sum(), 1.0)
    known = p > 0
    return float((p[known] * np.log(p[known] / np.maximum(q[known], 1e-9))).sum())


Method = Callable[[Extremes, Histogram | None], Interval]
METHODS: dict[str, Method] = {
    "auto": auto_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
    "mse": mse_range,
    "minmax": minmax_range,
}


def method_named(name: str) -> MethodName:
    """`name` as a method.

    Raises:
        Rejected: ``method-unknown``.
    """
    for method in get_args(MethodName):
        if method == name:
            return method  # type: ignore[no-any-return] # one of MethodName's own words
    raise Rejected("method-unknown", f"there is no calibration method {name!r}", f"Use one of: {', '.join(METHODS)}")


NEEDS_HISTOGRAM = frozenset(METHODS) - {"minmax"}
