"""The plan that costs least for at most a given damage: an integer program, solved by HiGHS (in scipy).

    minimise    Σ over sites of the price of their state
    such that   every width has one level, every site one state, and a state agrees with the levels of its widths
                Σ damages of levels and forms − what float layers take away  ≤  limit

Residual sums, concatenations and depthwise groups tie layers together: what one layer makes, another reads, and the price of a layer depends on
both. So it is no sum over layers, and no knapsack.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import Unfit
from .plan import Plan
from .prices import Goal, Prices
from .space import Space, State

MAX_SECONDS = 20.0
_GAP = 1e-4
_INFEASIBLE = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan may do at most. `weight_bytes` None = any size."""

    damage: float
    weight_bytes: float | None = None


def unavailable() -> str | None:
    """Why no plan can be found here; None when it can."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        return "the search needs HiGHS, which comes with scipy: pip install 'edgewright[search]'"
    return None


def solve(prices: Prices, limits: Limits, goal: Goal = "latency", excluded: Sequence[Plan] = ()) -> Plan | None:
    """The best plan within `limits`; None when there is none. `excluded` plans are not given again.

    Raises:
        Unfit: ``solver-missing`` or ``solver-failed``.
    """
    reason = unavailable()
    if reason is not None:
        raise Unfit("solver-missing", reason, "Install it, or use another recipe")
    program = _Program(prices.space)
    program.describe(prices, limits, goal)
    for plan in excluded:
        program.exclude(plan)
    values = program.solved()
    return None if values is None else program.plan(values)


@dataclass(slots=True)
class _Program:
    """Columns are binary: a level of a width, or a state of a site. Rows are sparse."""

    space: Space
    costs: list[float] = field(default_factory=list)
    rows: list[tuple[dict[int, float], float, float]] = field(default_factory=list)
    levels: list[list[int]] = field(default_factory=list)
    states: list[list[tuple[int, State]]] = field(default_factory=list)

    def describe(self, prices: Prices, limits: Limits, goal: Goal) -> None:
        damage: dict[int, float] = {}
        weight: dict[int, float] = {}
        for width in self.space.widths:
            columns = [self._column(0.0) for _ in width.levels]
            self.levels.append(columns)
            self.rows.append((dict.fromkeys(columns, 1.0), 1.0, 1.0))
            damage.update(zip(columns, width.damages, strict=True))
        for site in self.space.sites:
            found = []
            for state in self.space.states(site):
                price = prices.price(site, state)
                column = self._column(price.of(goal))
                weight[column] = float(price.weight_bytes)
                damage[column] = (state.form.damage if state.form is not None else 0.0) - ((site.float_gain or 0.0) if state.is_float else 0.0)
                found.append((column, state))
            self.states.append(found)
            self._tie(site.widths, found)
        self.rows.append((damage, -np.inf, limits.damage))
        if limits.weight_bytes is not None:
            self.rows.append((weight, -np.inf, limits.weight_bytes))

    def _tie(self, widths: tuple[int, ...], states: Sequence[tuple[int, State]]) -> None:
        """One state, and it agrees with the level of every width of the site."""
        self.rows.append(({column: 1.0 for column, _ in states}, 1.0, 1.0))
        for position, index in enumerate(widths):
            for level, column in enumerate(self.levels[index]):
                agreeing = {own: 1.0 for own, state in states if state.levels[position] == level}
                self.rows.append(({**agreeing, column: -1.0}, 0.0, 0.0))

    def exclude(self, plan: Plan) -> None:
        """At least one choice differs from `plan`."""
        chosen = []
        for width, columns in zip(self.space.widths, self.levels, strict=True):
            chosen.append(columns[plan.levels.get(width.makers, 0)])
        for site, states in zip(self.space.sites, self.states, strict=True):
            choice, is_float = plan.forms.get(site.layer.name), site.layer.name in plan.floats
            same = [column for column, state in states if state.is_float == is_float and _choice(state) == choice]
            # Every state of that form is meant: its levels are counted above.
            chosen += same if len(same) == 1 else []
            if len(same) > 1:
                chosen.append(self._any_of(same))
        self.rows.append((dict.fromkeys(chosen, 1.0), -np.inf, len(chosen) - 1.0))

    def _any_of(self, columns: Sequence[int]) -> int:
        """A column that is one when one of `columns` is."""
        made = self._column(0.0)
        self.rows.append(({**dict.fromkeys(columns, 1.0), made: -1.0}, 0.0, 0.0))
        return made

    def _column(self, cost: float) -> int:
        self.costs.append(cost)
        return len(self.costs) - 1

    def solved(self) -> Sequence[float] | None:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        count = len(self.costs)
        starts = np.cumsum([0, *(len(row[0]) for row in self.rows)])
        columns = np.array([column for row in self.rows for column in row[0]], np.intp)
        values = np.array([value for row in self.rows for value in row[0].values()])
        matrix = csr_array((values, columns, starts), shape=(len(self.rows), count))
        constraints = LinearConstraint(matrix, [row[1] for row in self.rows], [row[2] for row in self.rows])
        options = {"time_limit": MAX_SECONDS, "mip_rel_gap": _GAP}
        with _silent():
            found = milp(np.array(self.costs), integrality=np.ones(count), bounds=Bounds(0, 1), constraints=constraints, options=options)
        if found.status == _INFEASIBLE:
            return None
        if found.x is None:
            raise Unfit("solver-failed", f"HiGHS gave up: {found.message}", "Report this with the model")
        return [float(value) for value in found.x]

    def plan(self, values: Sequence[float]) -> Plan:
        levels = {
            width.makers: level
            for width, columns in zip(self.space.widths, self.levels, strict=True)
            for level, column in enumerate(columns)
            if level and values[column] > 0.5
        }
        chosen: Mapping[str, State] = {
            site.layer.name: state
            for site, states in zip(self.space.sites, self.states, strict=True)
            for column, state in states
            if values[column] > 0.5
        }
        forms = {name: state.form.choice for name, state in chosen.items() if state.form is not None}
        return Plan(forms, levels, frozenset(name for name, state in chosen.items() if state.is_float))


@contextmanager
def _silent() -> Iterator[None]:
    """HiGHS in scipy 1.17 prints lines of its own debugging to the standard output, which belongs to the caller (``--json``)."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _choice(state: State) -> object:
    return None if state.form is None else state.form.choice
