"""What the tables say of a whole plan: sums, corrected by every network that was timed or built.

    time of a plan    =  measured time of the network as it is  +  gain · (price of the plan − price of the network as it is)
    damage of a plan  =  scale · Σ damages

`gain` and `scale` follow the plans that were built, held to what was thought before as if one plan had said so: a single odd measurement is no law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import Plan
from .prices import Prices
from .space import Space

# No plan is faster than an inference of what is not searched over: the prediction does not go below this share of the whole.
_FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class Timed:
    """A plan that was timed whole: what the tables said that it changes, and what it changed."""

    delta_ms: float
    measured_delta_ms: float


@dataclass(frozen=True, slots=True)
class Tried:
    """A plan whose weights were fitted: the damage that the tables said, and what it was."""

    plan: Plan
    damage: float
    measured_damage: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the tables and the plans tried so far say."""

    whole_ms: float
    gain: float = 1.0
    scale: float = 1.0

    def ms(self, prices: Prices, plan: Plan) -> float:
        return max(self.whole_ms + self.gain * delta_ms(prices, plan), _FLOOR * self.whole_ms)

    def damage(self, space: Space, plan: Plan) -> float:
        return self.scale * damage_of(space, plan)


def delta_ms(prices: Prices, plan: Plan) -> float:
    """The price of `plan` less that of the network as it is."""
    return prices.total_ms(plan) - prices.total_ms(Plan())


def damage_of(space: Space, plan: Plan) -> float:
    """The damages of all choices of `plan`, added up."""
    levels = sum(width.damages[plan.levels.get(width.makers, 0)] for width in space.widths)
    forms = sum(form.damage for site in space.sites for form in site.forms if plan.forms.get(site.layer.name) == form.choice)
    return levels + forms - sum(site.float_gain or 0.0 for site in space.sites if site.layer.name in plan.floats)


def corrected(whole_ms: float, timed: Sequence[Timed], tried: Sequence[Tried], first_gain: float = 1.0) -> Prediction:
    """The prediction after these plans were timed and tried; `first_gain` is what is thought before."""
    gain = _slope([(entry.delta_ms, entry.measured_delta_ms) for entry in timed], first_gain)
    scale = _slope([(entry.damage, entry.measured_damage) for entry in tried], 1.0)
    return Prediction(whole_ms, min(max(gain, 0.3), 3.0), min(max(scale, 0.05), 20.0))


def _slope(pairs: Sequence[tuple[float, float]], first: float) -> float:
    """Least squares through zero, with one imagined point of the mean size whose slope is `first`."""
    size = sum(x * x for x, _ in pairs) / len(pairs) if pairs else 0.0
    if size <= 0:
        return first
    return (sum(x * y for x, y in pairs) + first * size) / (sum(x * x for x, _ in pairs) + size)
