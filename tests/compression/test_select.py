"""The knapsack against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from edgewright.compression.select import Option, select


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_better_than_what_is_chosen(seed):
    rng = np.random.default_rng(seed)
    layers = [[Option(float(c), float(d)) for c, d in zip(rng.integers(1, 50, 4), rng.random(4), strict=True)] for _ in range(5)]
    limit = 0.6 * sum(max(o.cost for o in options) for options in layers)

    chosen = select(layers, limit)

    assert chosen is not None
    cost = sum(options[i].cost for options, i in zip(layers, chosen, strict=True))
    damage = sum(options[i].damage for options, i in zip(layers, chosen, strict=True))
    best = min(sum(o.damage for o in plan) for plan in itertools.product(*layers) if sum(o.cost for o in plan) <= limit)
    assert cost <= limit
    assert damage == pytest.approx(best, abs=0.02)


def test_a_limit_below_the_cheapest_is_none():
    assert select([[Option(3, 0.0), Option(2, 1.0)], [Option(5, 0.0)]], 6.9) is None


def test_a_limit_that_binds_nothing_costs_nothing():
    assert select([[Option(3, 0.0), Option(2, 1.0)], [Option(5, 0.0), Option(1, 9.0)]], 8) == (0, 0)
