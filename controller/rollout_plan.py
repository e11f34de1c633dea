"""How a rollout shall go: the owner's choices, fixed when it begins. Pure."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..core.errors import Rejected

Fraction = Annotated[float, Meta(ge=0, le=1)]
Ratio = Annotated[float, Meta(ge=1, le=100)]

MAX_WAVES = 100


class RolloutPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Waves, limits, and what a wave has to prove before the next one opens.

    Waves: `canary` devices of each hardware class go first; then `shares` of all devices, cumulative, or, where none are given, each wave is `growth`
    times as large as the one before. Within a wave at most `rate_per_min` devices are released per minute, `growth` times as many in each later wave.

    A device fails when it ends in another state than SUCCEEDED, or has not come to an end `device_timeout_s` after its release. More than
    `max_failed` in all, or more than `max_failed_share` of one wave, stop the rollout (`on_failure`). A wave is over when all its devices are, or
    when `min_succeeded_share` of them have succeeded and `soak_s` have passed since it opened.

    What a wave measured decides, per hardware class and with `confidence`: at least `min_good_share` of the devices must be within the budget and not
    worse than what they ran before, by more than the `max_…_ratio` and `max_…_drop` allow (`evidence`).
    """

    canary: Annotated[int, Meta(ge=0, le=10_000)] = 7
    shares: Annotated[tuple[Fraction, ...], Meta(max_length=MAX_WAVES)] = ()
    growth: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    rate_per_min: Annotated[float, Meta(gt=0)] | None = None
    max_failed: Annotated[int, Meta(ge=0)] | None = None
    max_failed_share: Fraction = 0.05
    min_succeeded_share: Fraction = 0.95
    device_timeout_s: Annotated[float, Meta(gt=0, le=366 * 86400)] = 86400.0
    soak_s: Annotated[float, Meta(ge=0, le=366 * 86400)] = 0.0
    approval: Literal["none", "start", "each-wave"] = "none"
    on_failure: Literal["pause", "roll-back"] = "pause"
    on_unproven: Literal["pause", "promote"] = "pause"
    min_good_share: Fraction = 0.8
    confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.9
    max_latency_ratio: Ratio = 1.1
    max_energy_ratio: Ratio = 1.1
    max_agreement_drop: Fraction = 0.01
    max_top1_drop: Fraction = 0.01
    late_joiners: bool = True


def check_plan(plan: RolloutPlan) -> RolloutPlan:
    """`plan` itself when its values are within their bounds and agree.

    Raises:
        Rejected: ``rollout-plan-malformed``.
    """
    hint = "edgewright fleet rollout start --help"
    if any(isinstance(value, float) and not math.isfinite(value) for value in (*msgspec.structs.astuple(plan), *plan.shares)):
        raise Rejected("rollout-plan-malformed", "a value of the rollout's plan is not a number", hint)
    try:
        msgspec.convert(msgspec.to_builtins(plan), RolloutPlan)
    except msgspec.ValidationError as error:
        raise Rejected("rollout-plan-malformed", f"the rollout's plan does not fit: {error}", hint) from error
    if list(plan.shares) != sorted(set(plan.shares)):
        raise Rejected("rollout-plan-malformed", "the shares of the waves do not grow", "Give cumulative shares, as 0.01 0.1 0.5 1")
    if plan.shares and plan.shares[0] == 0:
        raise Rejected("rollout-plan-malformed", "a wave with a share of 0 has no devices", "Leave it out")
    if not plan.shares and plan.canary == 0:
        raise Rejected("rollout-plan-malformed", "a rollout without canaries needs the shares of its waves", "Give --shares, or --canary 1")
    return plan
