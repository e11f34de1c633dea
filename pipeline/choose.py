"""Chooses among measured candidates: the fastest that meets the budget. Pure.

Rules:
- only candidates that meet the whole budget may be chosen;
- a candidate is faster only when its median latency is lower by more than `MARGIN`: decisions inside the noise are not claimed, and then
  the more faithful one (FP32 before INT8) is kept;
- INT8 takes FP16's place only when it is faster by more than `INT8_MARGIN`: FP16 costs next to no accuracy, INT8 some;
- when none meets the budget, the nearest one is named with its reasons: the one that exceeds the fewest limits, then the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.budget import Budget, Check, Verdict, judge
from ..core.measurement import Candidate

MARGIN = 0.02
INT8_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate with its verdict; `notes` say why the others were not."""

    candidate: Candidate
    verdict: Verdict
    notes: tuple[str, ...]


def choose(candidates: Sequence[Candidate], budget: Budget) -> Choice:
    """`candidates` in order of preference at equal speed, most faithful first; at least one."""
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
        ratio = _median_ms(best) / _median_ms(candidate)
        margin = INT8_MARGIN if best.precision == "fp16" and candidate.precision in {"int8", "mixed"} else MARGIN
        if ratio > 1 + margin:
            notes.append(f"{candidate.name} is {ratio:.2f} times as fast as {best.name}")
            best = candidate
        else:
            wanted = f"; {1 + margin:.2f} are wanted" if ratio > 1 else ""
            notes.append(f"{candidate.name} is not faster than {best.name} here ({ratio:.2f} times{wanted}) and was not chosen")
    return Choice(best, verdicts[best.name], tuple(notes))


def _median_ms(candidate: Candidate) -> float:
    latency = candidate.latency_ms
    if latency is None:
        return float("inf")
    return latency.p50 if latency.p50 is not None else latency.mean


def _distance(checks: Sequence[Check]) -> tuple[int, float]:
    """How many limits are not met, and by what share in all."""
    missed = [check for check in checks if check.outcome != "met"]
    excess = sum(abs((check.value or 0) - check.allowed) / (abs(check.allowed) or 1) for check in missed)
    return len(missed), excess
