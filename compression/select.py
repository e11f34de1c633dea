"""Chooses one option per layer: the least damage in all at a given cost. Pure.

A knapsack by dynamic programming over costs in `BUCKETS` steps, each rounded up, so that the limit is never exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BUCKETS = 4000


@dataclass(frozen=True, slots=True)
class Option:
    """One way for one layer: its cost (MACs, bytes, time: the caller's unit) and the damage expected of it."""

    cost: float
    damage: float


def select(layers: Sequence[Sequence[Option]], limit: float) -> tuple[int, ...] | None:
    """The index of the chosen option of each layer; None when even the cheapest together exceed `limit`."""
    floors = [min(option.cost for option in options) for options in layers]
    room = limit - sum(floors)
    if room < 0:
        return None
    unit = max(room / BUCKETS, 1e-12)
    best = np.zeros(BUCKETS + 1)
    picks = []
    for options, floor in zip(layers, floors, strict=True):
        table = np.full((len(options), BUCKETS + 1), np.inf)
        for row, option in enumerate(options):
            steps = int(np.ceil((option.cost - floor) / unit - 1e-9))
            if steps <= BUCKETS:
                table[row, steps:] = best[: BUCKETS + 1 - steps] + option.damage
        picks.append(table.argmin(0))
        best = table.min(0)
    chosen = []
    left = BUCKETS
    for options, floor, pick in zip(reversed(layers), reversed(floors), reversed(picks), strict=True):
        index = int(pick[left])
        chosen.append(index)
        left -= int(np.ceil((options[index].cost - floor) / unit - 1e-9))
    return tuple(reversed(chosen))
