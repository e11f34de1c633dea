"""The rounds of a search: solve, time the plan's skeleton, polish it, build it whole, judge it, and correct what the tables said.

Rules:
- no weight is fitted for a plan whose skeleton is not faster than the network as it is by more than the noise;
- rounds are steered by what whole networks measured and lost, never by tables alone; the guard is `choose`, over every engine that was built;
- the time is held by not beginning what would not be finished: the longest round so far says how long the next one takes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ..compression.activations import Engine
from ..compression.fidelity import Reference
from ..compression.search.plan import Plan, Variant
from ..compression.search.predict import Prediction, Timed, Tried, corrected, damage_of, delta_ms
from ..compression.search.prices import Goal, Prices
from ..compression.search.sift import LEAST_SHARE, one_less, sifted
from ..compression.search.solve import Limits, solve
from .allowance import Allowance, next_limit
from .build import Built
from .choose import MARGIN
from .judging import Judge
from .planned import PlanBuilder
from .run import Run
from .skeletons import Share, Skeletons
from .spending import Spending

# How much further than planned the damage may go to find a plan that is worth being built: damages of sums are often too pessimistic.
STRETCHES = (1.0, 2.0, 4.0)
# Choices of a plan that are left out one by one to see what each brings.
MAX_POLISHED = 8


class Expected(msgspec.Struct, frozen=True):
    """What was said of an engine before it was measured with all others. Its time as a share of the start's, before its weights were fitted: by its
    skeleton (`share`), and by the sums of single layers (`summed_share`). `damage` is of the fitted network in float; `use` the share of the
    allowance that the engine has used up.
    """

    share: float
    summed_share: float
    predicted_damage: float
    damage: float
    use: float


@dataclass(frozen=True, slots=True)
class Planned:
    """An engine of a plan; `plan` None = an earlier run's."""

    built: Built
    expected: Expected
    plan: Plan | None = None


class LayerTimer(Protocol):
    """Times what a table lacks of some variants."""

    def __call__(self, variants: Sequence[Variant]) -> object: ...


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that is worth being built, with what is expected of it."""

    plan: Plan
    share: float
    summed_share: float
    damage: float


@dataclass(slots=True)
class Rounds:
    """`start_use` is what the network that the search began with has used up of the allowance; `first_limit` the damage to begin with."""

    run: Run
    prices: Prices
    skeletons: Skeletons
    builder: PlanBuilder
    judge: Judge
    reference: Reference
    engine: Engine
    allowance: Allowance
    spending: Spending
    timer: LayerTimer
    whole_ms: float
    start_use: float
    goal: Goal
    weight_limit: float | None
    planned: list[Planned] = field(default_factory=list)
    _timed: list[Timed] = field(default_factory=list)
    _tried: list[Tried] = field(default_factory=list)
    _refused: list[Plan] = field(default_factory=list)

    def go(self, first_limit: float) -> bool:
        """Build plans into `planned`; returns whether no further round was worth it, rather than that time was up."""
        limit, good, bad = first_limit, None, None
        longest_s = 0.0
        for number in range(1, self.spending.effort.rounds + 1):
            began = time.monotonic()
            if self._tried and longest_s > self.spending.left_s:
                self.run.notes.append(f"the search ended after {number - 1} whole networks: {self.spending.effort.seconds:.0f} s are used up")
                return False
            proposal = self._proposal(limit, bad)
            if proposal is None:
                self.run.notes.append("no further plan promises more than the noise: none was built")
                return True
            entry = self._build(proposal, number)
            if entry is None:
                return True
            damage, use = entry.expected.damage, entry.expected.use
            self._tried.append(Tried(proposal.plan, damage_of(self.prices.space, proposal.plan), damage))
            if use <= 1:
                good = max(good or 0.0, damage)
            else:
                bad = min(bad or float("inf"), damage)
            limit = next_limit(damage, use, self.start_use, good, bad)
            longest_s = max(longest_s, time.monotonic() - began)
            if good is not None and bad is not None and bad < 1.15 * good:
                return True
        return True

    @property
    def _prediction(self) -> Prediction:
        return corrected(self.whole_ms, self._timed, self._tried, first_gain(self.whole_ms, self.prices))

    def _proposal(self, limit: float, bad: float | None) -> Proposal | None:
        """The best new plan for `limit` of damage, or more when less promises nothing that could be told from noise; less than `bad`."""
        for factor in STRETCHES:
            if factor > 1 and bad is not None and factor * limit >= bad:
                break
            plan = self._plan(factor * limit)
            if plan is None:
                continue
            summed = self._prediction.ms(self.prices, plan) / self.whole_ms
            if self.goal == "latency" and summed > 1 - MARGIN:
                continue
            plan, share = self._polished(plan)
            if share is None or (self.goal == "latency" and share.value > 1 - MARGIN) or plan.is_empty:
                self._refused.append(plan)
                continue
            return Proposal(plan, share.value, summed, self._prediction.damage(self.prices.space, plan))
        return None

    def _plan(self, limit: float) -> Plan | None:
        """The best plan for damage `limit` that is new and sure to gain; None when there is none."""
        limits = Limits(limit / self._prediction.scale, self.weight_limit)
        before = [*(entry.plan for entry in self._tried), *self._refused]
        plan = solve(self.prices, limits, self.goal, before)
        if plan is None or plan.is_empty:
            return None
        # A plan's combinations of widths were estimated: they are timed, and the plan is chosen again.
        self.timer(tuple(self.prices.wanted_of(plan)))
        again = solve(self.prices, limits, self.goal, before) or plan
        sure = sifted(self.prices, again, self.whole_ms) if self.goal == "latency" else again
        return None if sure.is_empty or any(sure.text == other.text for other in before) else sure

    def _polished(self, plan: Plan) -> tuple[Plan, Share | None]:
        """`plan` without the choices that bring nothing in the whole network, and its time there."""
        others = list(one_less(plan))[:MAX_POLISHED] if self.goal == "latency" and self.spending.effort.rounds > 1 else []
        (share, *shares) = self._time_whole([plan, *others])
        if share is None:
            return plan, None
        idle = [other for other, found in zip(others, shares, strict=True) if found is not None and _is_idle(share, found)]
        for other in idle:
            plan = _in_both(plan, other)
        if not idle or plan.is_empty:
            return plan, share
        return plan, self._time_whole([plan])[0]

    def _time_whole(self, plans: Sequence[Plan]) -> list[Share | None]:
        shares = self.skeletons.shares(plans)
        for plan, share in zip(plans, shares, strict=True):
            if share is not None:
                self._timed.append(Timed(delta_ms(self.prices, plan), (share.value - 1) * self.whole_ms))
        return shares

    def _build(self, proposal: Proposal, number: int) -> Planned | None:
        start = 0.4 + 0.6 * (number - 1) / self.spending.effort.rounds
        progress = self.spending.part(start, start + 0.6 / self.spending.effort.rounds)
        built, model = self.builder.build(proposal.plan, f"auto-{number}", progress)
        if built is None:
            self.run.notes.append(f"the plan {number} could not be built")
            return None
        fidelity = self.judge.fidelities([built], progress=lambda _share, _note: None, cancel=self.run.cancel)[built.name]
        damage = max(self.reference.damage(model, self.engine), 1e-9)
        expected = Expected(proposal.share, proposal.summed_share, proposal.damage, damage, self.allowance.use(fidelity))
        entry = Planned(built, expected, proposal.plan)
        self.planned.append(entry)
        return entry


def _is_idle(whole: Share, without: Share) -> bool:
    """Whether the choice that `without` lacks is sure to bring less than is worth any damage."""
    spread = float((whole.spread**2 + without.spread**2) ** 0.5)
    return without.value - whole.value + spread < LEAST_SHARE


def _in_both(plan: Plan, other: Plan) -> Plan:
    """The choices of `plan` that `other` has too."""
    forms = {name: choice for name, choice in plan.forms.items() if name in other.forms}
    levels = {makers: level for makers, level in plan.levels.items() if makers in other.levels}
    return Plan(forms, levels, plan.floats & other.floats)


def first_gain(whole_ms: float, prices: Prices) -> float:
    """What parts are of the whole before any plan was timed. Their sum cannot exceed it; inside a network caches are colder than alone."""
    parts_ms = prices.total_ms(Plan())
    return min(max(whole_ms / parts_ms, 0.5), 1.1) if parts_ms > 0 else 1.0
