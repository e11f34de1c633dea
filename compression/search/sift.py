"""Takes out of a plan what is not sure to gain: a choice whose gain lies within the spread of its measurements is not claimed.

A layer that is slower in float is in a plan for fidelity, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from .plan import Plan
from .prices import Prices, state_in

# Of the whole network: less is not worth any damage.
LEAST_SHARE = 0.002


def sifted(prices: Prices, plan: Plan, whole_ms: float) -> Plan:
    """`plan` without the choices that bring less than their spread, or less than `LEAST_SHARE` of the whole; the least useful first."""
    while True:
        total = prices.total_ms(plan)
        weak = [
            (gain, index, other)
            for index, other in enumerate(one_less(plan))
            if (gain := prices.total_ms(other) - total) < max(LEAST_SHARE * whole_ms, _spread(prices, plan, other))
            and not _is_for_fidelity(plan, other, gain)
        ]
        if not weak:
            return plan
        plan = min(weak, key=lambda entry: entry[:2])[2]


def one_less(plan: Plan) -> Iterator[Plan]:
    """`plan` without one of its choices, for each of them."""
    for layer in plan.forms:
        yield Plan({name: choice for name, choice in plan.forms.items() if name != layer}, plan.levels, plan.floats)
    for makers in plan.levels:
        yield Plan(plan.forms, {names: level for names, level in plan.levels.items() if names != makers}, plan.floats)
    for layer in sorted(plan.floats):
        yield Plan(plan.forms, plan.levels, plan.floats - {layer})


def _is_for_fidelity(plan: Plan, other: Plan, gain: float) -> bool:
    return gain < 0 and plan.floats != other.floats


def _spread(prices: Prices, one: Plan, other: Plan) -> float:
    """Half the width of the interval of the difference of two plans, from the sites in which they differ."""
    squares = 0.0
    for site in prices.space.sites:
        states = state_in(prices.space, site, one), state_in(prices.space, site, other)
        if states[0] != states[1]:
            for state in states:
                cost = prices.table.get(prices.variant(site, state))
                squares += 0.0 if cost is None else cost.spread_ms**2
    return float(squares**0.5)
