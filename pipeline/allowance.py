"""How much of what the owner allows a network has used up: what the search steers by. Pure.

    use = the largest of:  top-1 drop ÷ max_top1_drop,  lost agreement ÷ (1 − min_agreement),  noise ÷ the noise of min_sqnr_db

Rules:
- a budget that limits no fidelity does not mean that any network will do: the search itself keeps within `DEFAULT_DROP`, or without labels within
  `DEFAULT_AGREEMENT`, or without classes within `DEFAULT_SQNR_DB`;
- top-1 on a few hundred samples is coarse, one image may be a point: so a plan must also agree with the original in all but
  `DECISIONS_PER_POINT` times what top-1 may lose.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.budget import Budget
from ..core.measurement import Fidelity

DEFAULT_DROP = 0.015
DEFAULT_AGREEMENT = 0.95
DEFAULT_SQNR_DB = 20.0
# Of the decisions that change, most change between two wrong classes or in both directions.
DECISIONS_PER_POINT = 5.0
# What a plan should use up: fidelity on other samples differs a little.
TARGET_USE = 0.9
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits on fidelity; None = that measure is not limited."""

    top1_drop: float | None
    agreement: float | None
    sqnr_db: float | None

    def use(self, fidelity: Fidelity) -> float:
        """1 is the limit; more is too much. Infinite where a limited measure could not be taken."""
        found = [0.0]
        if self.top1_drop is not None:
            known = fidelity.top1 is not None and fidelity.top1_fp32 is not None
            found.append(_share((fidelity.top1_fp32 or 0) - (fidelity.top1 or 0), self.top1_drop) if known else float("inf"))
        if self.agreement is not None:
            found.append(float("inf") if fidelity.agreement is None else _share(1 - fidelity.agreement, 1 - self.agreement))
        if self.sqnr_db is not None:
            found.append(float("inf") if fidelity.sqnr_db is None else float(10 ** ((self.sqnr_db - fidelity.sqnr_db) / 10)))
        return max(found)


def allowance_of(budget: Budget, *, is_labelled: bool, is_classifier: bool) -> Allowance:
    """The limits of `budget`, with the search's own where it has none."""
    drop, agreement, sqnr_db = budget.max_top1_drop, budget.min_agreement, budget.min_sqnr_db
    if drop is None and agreement is None and sqnr_db is None:
        if is_classifier:
            drop, agreement = (DEFAULT_DROP, None) if is_labelled else (None, DEFAULT_AGREEMENT)
        else:
            sqnr_db = DEFAULT_SQNR_DB
    if drop is not None and agreement is None and is_classifier:
        agreement = max(0.0, 1 - DECISIONS_PER_POINT * drop)
    return Allowance(drop if is_labelled or budget.max_top1_drop is not None else None, agreement, sqnr_db)


def next_limit(limit: float, use: float, start_use: float, good: float | None, bad: float | None) -> float:
    """The damage to allow next, after a plan of damage `limit` has used up `use`, of which `start_use` was used up before any plan.

    Decisions change with the root of the damage, noise in proportion to it: the power lies between. `good` is the largest damage that was within
    the allowance so far, `bad` the least that was not; what lies beyond one of them gives way to their geometric mean.
    """
    ratio = max(TARGET_USE - start_use, 0.05) / max(use - start_use, 0.02)
    wanted = limit * min(max(ratio**1.4, 0.2), 5.0)
    if good is not None and bad is not None and good < bad:
        return float(min(max(wanted, good * 1.05), bad * 0.95)) if good < wanted < bad else float((good * bad) ** 0.5)
    return float(wanted)


def _share(value: float, limit: float) -> float:
    return max(value, 0.0) / max(limit, _TINY)
