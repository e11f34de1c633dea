"""The energy of a window of time, from power that came through the sensor's own filter. Pure.

    E = ∫ y dt + τ·(y(end) − y(start))        y: what the sensor shows, τ: its filter's time constant

A first-order filter obeys τ·dy/dt = P − y. Integrated over the window that is the line above: exact for any power P(t). The second term is what the
filter still holds back at the end, less what it still carried at the start. A counter of energy needs none of this: its difference is the energy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .recording import Series


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the monotonic clock. `inferences` is how many calls began and ended inside."""

    start_s: float
    end_s: float
    inferences: int = 0

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """`energy_mj` is the corrected energy, of which `correction_mj` undoes the filter. `largest_gap_s` is between neighbouring readings."""

    energy_mj: float
    correction_mj: float
    mean_mw: float
    peak_mw: float
    samples: int
    distinct: int
    largest_gap_s: float


def window_energy(series: Series, window: Window, filter_s: float) -> WindowEnergy | None:
    """The energy in `window`; None when the readings do not reach over it, or there are fewer than two."""
    times, values = series.times_s, series.values
    if len(times) < 2 or window.seconds <= 0 or times[0] > window.start_s or times[-1] < window.end_s:
        return None
    first, last = bisect_right(times, window.start_s), bisect_left(times, window.end_s)
    at_start, at_end = value_at(series, window.start_s), value_at(series, window.end_s)
    inner_times = [window.start_s, *times[first:last], window.end_s]
    gap_s = max(after - before for before, after in pairwise([times[max(0, first - 1)], *times[first:last], times[min(last, len(times) - 1)]]))
    if series.quantity == "energy":
        energy_mj, correction_mj = at_end - at_start, 0.0
        peak_mw = _steepest(times[max(0, first - 1) : last + 1], values[max(0, first - 1) : last + 1])
        distinct = len(inner_times)
    else:
        shown = [at_start, *values[first:last], at_end]
        correction_mj = filter_s * (at_end - at_start)
        energy_mj = trapezoid(inner_times, shown) + correction_mj
        peak_mw, distinct = max(shown), len(set(values[first:last]))
    return WindowEnergy(energy_mj, correction_mj, energy_mj / window.seconds, peak_mw, last - first, max(1, distinct), gap_s)


def value_at(series: Series, time_s: float) -> float:
    """The series at a moment between its first and last reading, on the line between the neighbours."""
    times, values = series.times_s, series.values
    right = bisect_left(times, time_s)
    if right == 0 or times[right] == time_s:
        return values[right]
    before_s, after_s = times[right - 1], times[right]
    share = (time_s - before_s) / (after_s - before_s)
    return values[right - 1] + share * (values[right] - values[right - 1])


def trapezoid(times_s: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(
        (before + after) / 2 * (late - early) for (early, late), (before, after) in zip(pairwise(times_s), pairwise(values), strict=True)
    )


def block_means(series: Series, window: Window, filter_s: float, count: int) -> list[float]:
    """The mean power of `count` equal parts of the window, each corrected for the filter: what is left of their differences is the load's own."""
    length_s = window.seconds / count
    found = []
    for index in range(count):
        end_s = window.end_s if index == count - 1 else window.start_s + (index + 1) * length_s
        part = window_energy(series, Window(window.start_s + index * length_s, end_s), filter_s)
        if part is not None:
            found.append(part.mean_mw)
    return found


def _steepest(times_s: Sequence[float], values: Sequence[float]) -> float:
    rates = [(after - before) / (late - early) for (early, late), (before, after) in zip(pairwise(times_s), pairwise(values), strict=True)]
    return max(rates, default=0.0)
