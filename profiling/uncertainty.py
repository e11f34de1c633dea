"""How far the energy of a window may be from the truth: the load's own spread and the sensor's error, propagated together by drawing.

Following the Guide to the Expression of Uncertainty in Measurement, Supplement 1: every source is drawn from its own distribution and the interval is
read from the sums, because the sources are not normal (a shunt's tolerance is flat, an offset has a largest value).

- the load: a bootstrap over blocks of the window, widened for their small number as Student's t is;
- each rail's offset, gain and shunt as the data sheet says: they stay the same for a sensor's life and no repetition averages them out;
- the rounding to steps, over as many readings as showed different values;
- the filter constant's own error, times what the correction has added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .sensor import Traits

DRAWS = 4000
MIN_BLOCKS, MAX_BLOCKS = 4, 30


@dataclass(frozen=True, slots=True)
class RailShare:
    """One rail of a total: its mean power, and how many different values it showed."""

    traits: Traits
    mean_mw: float
    distinct: int


@dataclass(frozen=True, slots=True)
class MeanPower:
    """The mean power of a window with its 95 % interval; standard errors of its two kinds. `is_sensor_known`: every rail's error is stated."""

    mean_mw: float
    ci95_mw: tuple[float, float]
    spread_mw: float
    sensor_mw: float
    is_sensor_known: bool


def block_count(seconds: float, filter_s: float, period_s: float) -> int:
    """How many blocks a window has: each at least as long as the filter's constant, and five readings."""
    return max(MIN_BLOCKS, min(MAX_BLOCKS, int(seconds / max(filter_s, 5 * period_s))))


def mean_power(mean_mw: float, blocks: Sequence[float], rails: Sequence[RailShare], correction_mw: float, *, seed: int = 0) -> MeanPower:
    """The interval of a mean power. `correction_mw` is the filter's correction, as power."""
    import numpy as np

    chance = np.random.default_rng(seed)
    spread = _draw_load(blocks, chance)
    sensor = _draw_rounding(rails, chance)
    for rail in rails:
        sensor = sensor + _draw_rail(rail, chance)
    filter_error = max((rail.traits.filter_error for rail in rails), default=0.0)
    sensor = sensor + chance.normal(0, 1, DRAWS) * filter_error * abs(correction_mw)
    # The reading is the truth plus the error: the truth lies where the error is taken away.
    low, high = np.quantile(mean_mw - spread - sensor, [0.025, 0.975])
    known = all(rail.traits.error is not None for rail in rails)
    return MeanPower(mean_mw, (float(low), float(high)), float(np.std(spread)), float(np.std(sensor)), known)


def _draw_load(blocks: Sequence[float], chance: Any) -> Any:
    """Differences of the window's mean from the load's, from a bootstrap of its blocks, with the tails of Student's t for their number."""
    import numpy as np

    count = len(blocks)
    if count < 2:
        return np.zeros(DRAWS)
    values = np.asarray(blocks, dtype=np.float64)
    means = values[chance.integers(0, count, (DRAWS, count))].mean(axis=1) - values.mean()
    # A resampled mean spreads by sqrt((n - 1)/n) too little, and says nothing of the doubt in the spread itself.
    return means * math.sqrt(count / (count - 1)) / np.sqrt(chance.chisquare(count - 1, DRAWS) / (count - 1))


def _draw_rail(rail: RailShare, chance: Any) -> Any:
    import numpy as np

    error = rail.traits.error
    if error is None:
        return np.zeros(DRAWS)
    offset = truncated_normal(chance, error.offset_mw, error.offset_max_mw, DRAWS)
    gain = truncated_normal(chance, error.gain, error.gain_max, DRAWS) + chance.uniform(-error.shunt, error.shunt, DRAWS)
    return offset + gain * (rail.mean_mw - offset)


def _draw_rounding(rails: Sequence[RailShare], chance: Any) -> Any:
    import numpy as np

    total = np.zeros(DRAWS)
    for rail in rails:
        if rail.traits.resolution_mw:
            total = total + chance.uniform(-0.5, 0.5, DRAWS) * rail.traits.resolution_mw / math.sqrt(rail.distinct)
    return total


def truncated_normal(chance: Any, deviation: float, largest: float, count: int) -> Any:
    """Normal with `deviation`, drawn again beyond `largest`."""
    import numpy as np

    values = chance.normal(0, deviation, count)
    while (outside := np.abs(values) > largest).any():
        values[outside] = chance.normal(0, deviation, int(outside.sum()))
    return values
