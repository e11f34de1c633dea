"""The owner's budget, and the gate that holds a measured candidate against it. Pure: values in, a verdict out.

Rules (DESIGN §5):
- a missing limit is no limit;
- a value that could not be measured never passes by itself: the verdict says ``unmeasured`` and applies `Budget.on_unmeasured`;
- every limit is checked, so that the owner sees all reasons at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from .errors import Reason, Rejected
from .measurement import Candidate
from .nearest import nearest_hint
from .toml import decode_toml


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the owner allows. None = not limited."""

    max_top1_drop: float | None = None
    min_agreement: float | None = None
    min_sqnr_db: float | None = None
    max_latency_p99_ms: float | None = None
    max_energy_mj: float | None = None
    max_size_bytes: int | None = None
    max_build_s: float | None = None
    max_build_memory_mb: float | None = None
    on_unmeasured: Literal["reject", "allow"] = "reject"


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One limit held against one measured value; `value` is None when it could not be measured."""

    limit: str
    allowed: float
    value: float | None
    outcome: Literal["met", "exceeded", "unmeasured"]


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The gate's answer; `reasons` is empty exactly when accepted without an unmeasured value."""

    accepted: bool
    checks: tuple[Check, ...] = ()
    reasons: tuple[Reason, ...] = ()


def budget_from_toml(path: Path) -> Budget:
    """Read a ``budget.toml``.

    Raises:
        Rejected: ``budget-unreadable``, ``budget-unknown-key`` (names the nearest known key) or ``budget-bad-value``.
    """
    fields = decode_toml(path, what="budget")
    known = [field.name for field in msgspec.structs.fields(Budget)]
    for key in fields:
        if key not in known:
            raise Rejected("budget-unknown-key", f"the budget {path.name} has an unknown key {key!r}", nearest_hint(key, known))
    try:
        budget = msgspec.convert(fields, Budget)
    except msgspec.ValidationError as error:
        raise Rejected("budget-bad-value", f"the budget {path.name} does not fit: {error}", "Correct the value") from error
    check_budget(budget)
    return budget


def check_budget(budget: Budget) -> None:
    """Refuse limits that mean nothing: fractions outside 0..1, negative or non-finite limits.

    Raises:
        Rejected: ``budget-bad-value``.
    """
    for field in msgspec.structs.fields(Budget):
        value = getattr(budget, field.name)
        if not isinstance(value, int | float):
            continue
        is_fraction = field.name in {"max_top1_drop", "min_agreement"}
        if not math.isfinite(value) or (is_fraction and not 0 <= value <= 1):
            raise Rejected("budget-bad-value", f"{field.name} = {value} is out of range", "Fractions are 0..1, limits finite numbers")
        if value < 0 and field.name != "min_sqnr_db":
            raise Rejected("budget-bad-value", f"{field.name} = {value} is negative", "Give a limit of zero or more")


def _top1_drop(candidate: Candidate) -> float | None:
    fidelity = candidate.fidelity
    if fidelity is None or fidelity.top1 is None or fidelity.top1_fp32 is None:
        return None
    return fidelity.top1_fp32 - fidelity.top1


_MEASURES: dict[str, tuple[Callable[[Candidate], float | None], str]] = {
    "max_top1_drop": (_top1_drop, "top-1 drop"),
    "min_agreement": (lambda c: c.fidelity.agreement if c.fidelity else None, "agreement"),
    "min_sqnr_db": (lambda c: c.fidelity.sqnr_db if c.fidelity else None, "SQNR in dB"),
    "max_latency_p99_ms": (lambda c: c.latency_ms.p99 if c.latency_ms else None, "p99 latency in ms"),
    "max_energy_mj": (lambda c: c.energy_mj.mean if c.energy_mj else None, "energy in mJ"),
    "max_size_bytes": (lambda c: float(c.size_bytes), "size in bytes"),
    "max_build_s": (lambda c: c.build_s, "build time in s"),
    "max_build_memory_mb": (lambda c: c.build_memory_mb, "build memory in MB"),
}


def judge(candidate: Candidate, budget: Budget) -> Verdict:
    """Hold `candidate` against every limit of `budget`."""
    checks: list[Check] = []
    reasons: list[Reason] = []
    accepted = True
    for limit, (measure, words) in _MEASURES.items():
        allowed = getattr(budget, limit)
        if allowed is None:
            continue
        value = measure(candidate)
        check = _check(limit, float(allowed), value)
        checks.append(check)
        if check.outcome == "exceeded":
            accepted = False
            reasons.append(_exceeded(check, words, candidate))
        elif check.outcome == "unmeasured":
            accepted = accepted and budget.on_unmeasured == "allow"
            reasons.append(_unmeasured(check, words, candidate, budget))
    return Verdict(accepted=accepted, checks=tuple(checks), reasons=tuple(reasons))


def _check(limit: str, allowed: float, value: float | None) -> Check:
    if value is None or math.isnan(value):
        return Check(limit=limit, allowed=allowed, value=None, outcome="unmeasured")
    # A drop of exactly 0.015 measured in binary fractions must not exceed 0.015.
    slack = 1e-9 * max(1.0, abs(allowed))
    met = value <= allowed + slack if limit.startswith("max_") else value >= allowed - slack
    return Check(limit=limit, allowed=allowed, value=value, outcome="met" if met else "exceeded")


def _exceeded(check: Check, words: str, candidate: Candidate) -> Reason:
    side = "above" if check.limit.startswith("max_") else "below"
    message = f"{candidate.name}: {words} {check.value:.6g} is {side} the budget's {check.limit} = {check.allowed:g}"
    return Reason("budget", message, f"Relax {check.limit} or send a model that meets it", "rejected")


def _unmeasured(check: Check, words: str, candidate: Candidate, budget: Budget) -> Reason:
    why = f" ({candidate.energy_reason})" if check.limit == "max_energy_mj" and candidate.energy_reason else ""
    message = f"{candidate.name}: {words} could not be measured{why}, so {check.limit} is unmeasured"
    if budget.on_unmeasured == "allow":
        return Reason("unmeasured", message, "Allowed by on_unmeasured", "unfit")
    return Reason("unmeasured", message, f'Remove {check.limit}, or set on_unmeasured = "allow"', "unfit")
