"""Who goes when: the order of a rollout's devices and its cut into waves. Pure.

Rules:
- the order is that of a hash of rollout and device: stable over restarts and controllers, another one in each rollout, and nobody's favour;
- canaries are the first of each hardware class in that order, so that every class is measured before many of it change;
- who joins later finds the wave by its own hash, between the bounds that were set at the beginning, and is never a canary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .rollout_plan import MAX_WAVES, RolloutPlan


@dataclass(frozen=True, slots=True)
class Member:
    """A device that takes part."""

    device: str
    hardware_class: str


@dataclass(frozen=True, slots=True)
class Wave:
    """Its devices in the order of release; `last_hash` is the upper bound of the hashes that belong to it."""

    devices: tuple[str, ...]
    last_hash: str


def place_of(rollout: str, device: str) -> str:
    """Where a device stands in the order of a rollout: hex digits, to be compared as text."""
    return hashlib.sha256(f"{rollout}/{device}".encode()).hexdigest()


def waves_of(rollout: str, members: Sequence[Member], plan: RolloutPlan) -> tuple[Wave, ...]:
    """Every member in exactly one wave; no wave is empty."""
    ordered = sorted(members, key=lambda member: place_of(rollout, member.device))
    canaries: list[str] = []
    taken: dict[str, int] = {}
    for member in ordered:
        count = taken.get(member.hardware_class, 0)
        if count < plan.canary:
            taken[member.hardware_class] = count + 1
            canaries.append(member.device)
    chosen = set(canaries)
    rest = [member.device for member in ordered if member.device not in chosen]
    waves = [Wave(tuple(canaries), "")] if canaries else []
    start = 0
    for size in _sizes(len(canaries), len(rest), plan):
        devices = tuple(rest[start : start + size])
        start += size
        waves.append(Wave(devices, place_of(rollout, devices[-1])))
    return tuple(waves)


def _sizes(canaries: int, rest: int, plan: RolloutPlan) -> list[int]:
    """The sizes of the waves after the canaries; their sum is `rest`."""
    sizes: list[int] = []
    left = rest
    if plan.shares:
        for share in plan.shares:
            # Rounded first: 0.7 of 10 is 7.000000000000001 in binary fractions, and must not become 8.
            upto = math.ceil(round(share * (canaries + rest), 6))
            size = min(left, upto - canaries - (rest - left))
            if size > 0:
                sizes.append(size)
                left -= size
        return [*sizes, left] if left else sizes
    size = max(1, canaries)
    while left:
        # Waves that do not grow would be endless in a large fleet: the last one takes what is left.
        size = left if len(sizes) == MAX_WAVES - 1 else min(left, math.ceil(size * plan.growth))
        sizes.append(size)
        left -= size
    return sizes


def wave_of_joiner(rollout: str, device: str, last_hashes: Sequence[str]) -> int:
    """The wave of a device that was not there at the beginning; `last_hashes` are the waves' bounds, empty for canaries."""
    place = place_of(rollout, device)
    for number, bound in enumerate(last_hashes):
        if bound and place <= bound:
            return number
    return len(last_hashes) - 1


def allowance(plan: RolloutPlan, wave: int, open_for_s: float) -> int | None:
    """How many devices of a wave may have been released by now; None = all of them."""
    if plan.rate_per_min is None:
        return None
    # Beyond any fleet; the power itself would overflow.
    rate_per_min = min(plan.rate_per_min * plan.growth ** min(wave, 32), 1e12)
    return 1 + math.floor(rate_per_min * open_for_s / 60)
