"""Chooses among measured candidates: the fastest that meets the budget, or the most frugal, or the smallest. Pure.

Rules:
- without a wish, energy is minimised where the budget limits energy and not latency, and every candidate's was measured; else latency;
- only candidates that meet the whole budget may be chosen;
- a candidate is faster only when its median latency is lower by more than `MARGIN`: decisions inside the noise are not claimed, and then
  the more faithful one (FP32 before INT8) is kept;
- INT8 takes FP16's place only when it is faster by more than `INT8_MARGIN`: FP16 costs next to no accuracy, INT8 some;
- when none meets the budget, the nearest one is named with its reasons: the one that exceeds the fewest limits, then the least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..core.budget import Budget, Check, Verdict, judge
from ..core.measurement import Candidate

Goal = Literal["latency", "energy", "size"]
MARGIN = 0.02
_COMPARATIVES = {"fast": "faster", "frugal": "more frugal", "small": "smaller"}
INT8_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate with its verdict; `notes` say why the others were not."""

    candidate: Candidate
    verdict: Verdict
    notes: tuple[str, ...]


def goal_of(budget: Budget, wish: Goal | None) -> Goal:
    """What is minimised."""
    if wish is not None:
        return wish
    return "energy" if budget.max_energy_mj is not None and budget.max_latency_p99_ms is None else "latency"


def choose(candidates: Sequence[Candidate], budget: Budget, goal: Goal = "latency") -> Choice:
    """`candidates` in order of preference at equal cost, most faithful first; at least one."""
    cost, better = _measure_of(candidates, goal)
    verdicts = {candidate.name: judge(candidate, budget) for candidate in candidates}
    allowed = [candidate for candidate in candidates if verdicts[candidate.name].accepted]
    notes = [
        f"{candidate.name} does not meet the budget: {'; '.join(reason.message for reason in verdicts[candidate.name].reasons)}"
        for candidate in candidates
        if not verdicts[candidate.name].accepted
    ]
    if not allowed:
        nearest = min(candidates, key=lambda candidate: _distance(verdicts[candidate.name].checks))
        return Choice(nearest, verdicts[nearest.name], tuple(notes))
    best = allowed[0]
    for candidate in allowed[1:]:
        ratio = cost(best) / cost(candidate)
        margin = INT8_MARGIN if best.precision == "fp16" and candidate.precision in {"int8", "mixed"} else MARGIN
        if ratio > 1 + margin:
            notes.append(f"{candidate.name} is {ratio:.2f} times as {better} as {best.name}")
            best = candidate
        else:
            wanted = f"; {1 + margin:.2f} are wanted" if ratio > 1 else ""
            notes.append(f"{candidate.name} is not {_COMPARATIVES[better]} than {best.name} here ({ratio:.2f} times{wanted}) and was not chosen")
    return Choice(best, verdicts[best.name], tuple(notes))


def _measure_of(candidates: Sequence[Candidate], goal: Goal) -> tuple[Callable[[Candidate], float], str]:
    """What is compared, and how who has less of it is called."""
    if goal == "size":
        return lambda candidate: float(candidate.size_bytes), "small"
    if goal == "energy" and all(candidate.energy_mj is not None for candidate in candidates):
        return lambda candidate: float("inf") if candidate.energy_mj is None else candidate.energy_mj.mean, "frugal"
    return lambda candidate: float("inf") if candidate.latency_ms is None else candidate.latency_ms.middle, "fast"


def _distance(checks: Sequence[Check]) -> tuple[int, float]:
    """How many limits are not met, and by what share in all."""
    missed = [check for check in checks if check.outcome != "met"]
    excess = sum(abs((check.value or 0) - check.allowed) / (abs(check.allowed) or 1) for check in missed)
    return len(missed), excess
