"""What every state of every site costs, from the table of what was measured; what was not is estimated from its neighbours.

A layer that several widths touch has more combinations than may be timed. Each width is timed alone; a combination is the product of the shares,

    t(a, b) ≈ t(0, 0) · t(a, 0)/t(0, 0) · t(0, b)/t(0, 0)

until a plan asks for it: then it is timed like the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from ...core.costs import Cost
from ..network import chain_macs
from .costs import CostTable
from .plan import Plan, Setting, Variant
from .skeleton import is_2_4
from .space import Site, Space, State

Goal = Literal["latency", "energy", "size"]
_GUESSED_MS_PER_MAC = 1e-8


@dataclass(frozen=True, slots=True)
class Price:
    """One state of one site. `energy_mj` None where no sensor tells it."""

    ms: float
    energy_mj: float | None
    weight_bytes: int

    def of(self, goal: Goal) -> float:
        """The number that is minimised for `goal`; without a sensor time stands for energy."""
        if goal == "size":
            return float(self.weight_bytes)
        return self.energy_mj if goal == "energy" and self.energy_mj is not None else self.ms


@dataclass(frozen=True)
class Prices:
    """Prices of `space` from `table`; `setting` is what the whole network runs in, but for the layers `floats`."""

    space: Space
    table: CostTable
    setting: Setting
    floats: frozenset[str] = frozenset()

    def variant(self, site: Site, state: State) -> Variant:
        setting: Setting = "island" if self.setting == "codes" and (state.is_float or site.layer.name in self.floats) else self.setting
        is_sparse = state.form is not None and is_2_4(state.form.choice)
        return Variant(self.space.chain(site, state), site.layer.size, setting, is_sparse)

    def wanted(self) -> Iterator[Variant]:
        """What is worth timing, the most useful first: every layer as it is, then each choice alone."""
        yield Variant((), (), self.setting)
        for site in self.space.sites:
            yield self.variant(site, _as_it_is(site))
        for site in self.space.sites:
            for state in self.space.states(site):
                if sum(level > 0 for level in state.levels) + state.is_float + (state.form is not None) == 1:
                    yield self.variant(site, state)

    def wanted_of(self, plan: Plan) -> Iterator[Variant]:
        """The variants that `plan` is made of."""
        for site in self.space.sites:
            yield self.variant(site, state_in(self.space, site, plan))

    def price(self, site: Site, state: State) -> Price:
        variant = self.variant(site, state)
        cost = self.table.get(variant)
        if cost is None:
            cost = self._estimated(site, state)
        return Price(max(cost.ms - self.launch_ms, 0.0), self._energy_of(cost), variant.weight_bytes)

    def _energy_of(self, cost: Cost) -> float | None:
        """Without the launch; a state whose energy was not measured draws as much power as those whose was."""
        if self._power_mw is None:
            return None
        energy_mj = cost.ms * self._power_mw / 1000 if cost.energy_mj is None else cost.energy_mj
        return max(energy_mj - self.launch_ms * self._power_mw / 1000, 0.0)

    @cached_property
    def _power_mw(self) -> float | None:
        """What layers as they are draw on the mean, None where no sensor told of any."""
        costs = [cost for site in self.space.sites if (cost := self.table.get(self.variant(site, _as_it_is(site)))) is not None]
        known = [(cost.energy_mj, cost.ms) for cost in costs if cost.energy_mj is not None]
        return 1000 * sum(energy for energy, _ in known) / sum(ms for _, ms in known) if known else None

    @cached_property
    def launch_ms(self) -> float:
        """An inference that computes nothing: it is in every measurement, but once in a network."""
        cost = self.table.get(Variant((), (), self.setting))
        return 0.0 if cost is None else cost.ms

    def total_ms(self, plan: Plan) -> float:
        """The sum over all sites: what `predict` takes differences of."""
        return sum(self.price(site, state_in(self.space, site, plan)).ms for site in self.space.sites)

    def total_bytes(self, plan: Plan) -> int:
        return sum(self.price(site, state_in(self.space, site, plan)).weight_bytes for site in self.space.sites)

    def _estimated(self, site: Site, state: State) -> Cost:
        whole = self.table.get(self.variant(site, _as_it_is(site)))
        if whole is None:
            macs = chain_macs(self.space.chain(site, state), site.layer.size)
            return Cost(ms=self.launch_ms + macs * self._ms_per_mac, spread_ms=0.0)
        shares = [share for alone in _alone(site, state) if (share := self._share(site, alone, whole)) is not None]
        return Cost(ms=self.launch_ms + prod(shares) * max(whole.ms - self.launch_ms, 0.0), spread_ms=whole.spread_ms, energy_mj=None)

    def _share(self, site: Site, state: State, whole: Cost) -> float | None:
        cost = self.table.get(self.variant(site, state))
        own = whole.ms - self.launch_ms
        if cost is not None and own > 0:
            return max(cost.ms - self.launch_ms, 0.0) / own
        return chain_macs(self.space.chain(site, state), site.layer.size) / max(site.layer.macs, 1)

    @cached_property
    def _ms_per_mac(self) -> float:
        known = [(cost.ms, site.layer.macs) for site in self.space.sites if (cost := self.table.get(self.variant(site, _as_it_is(site)))) is not None]
        return sum(ms for ms, _ in known) / max(sum(macs for _, macs in known), 1) if known else _GUESSED_MS_PER_MAC


def state_in(space: Space, site: Site, plan: Plan) -> State:
    """The state of `site` under `plan`."""
    levels = tuple(plan.levels.get(space.widths[index].makers, 0) for index in site.widths)
    choice = plan.forms.get(site.layer.name)
    form = next((form for form in site.forms if choice is not None and form.choice == choice), None)
    return State(levels, form, site.layer.name in plan.floats)


def _as_it_is(site: Site) -> State:
    return State((0,) * len(site.widths), None, is_float=False)


def _alone(site: Site, state: State) -> Iterator[State]:
    """The choices that `state` is made of, each by itself."""
    whole = _as_it_is(site)
    for index, level in enumerate(state.levels):
        if level:
            yield State(tuple(level if i == index else 0 for i in range(len(state.levels))), None, is_float=False)
    if state.form is not None:
        yield State(whole.levels, state.form, is_float=False)
    if state.is_float:
        yield State(whole.levels, None, is_float=True)
