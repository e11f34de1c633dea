"""The state machine of a rollout. Pure: a table of states, and one function that looks at the facts and says what to do now.

Rules:
- what a person orders (`approve`, `pause`, `resume`, `cancel`, `roll_back`, `retry`) is a happening of the table, and so is what `decide` finds;
- an event that the table does not have for a state raises and changes nothing;
- a device that says nothing counts as failed when its time is over, so that every wave, and with it every rollout that nobody has paused, ends;
- cancel ends every rollout that has not ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..core.errors import Reason, Rejected
from .rollout_plan import RolloutPlan
from .waves import allowance

RolloutState = Literal["WAITING", "RUNNING", "PAUSED", "ROLLING_BACK", "SUCCEEDED", "CANCELED", "ROLLED_BACK"]
STATES: tuple[RolloutState, ...] = get_args(RolloutState)
OVER: frozenset[RolloutState] = frozenset({"SUCCEEDED", "CANCELED", "ROLLED_BACK"})

Happening = Literal["ask", "approve", "pause", "stop", "resume", "cancel", "roll_back", "undone", "finish", "retry", "join"]
HAPPENINGS: tuple[Happening, ...] = get_args(Happening)
Evidence = Literal["proven", "unproven", "worse"]

TRANSITIONS: dict[RolloutState, dict[Happening, RolloutState]] = {
    "WAITING": {"approve": "RUNNING", "pause": "PAUSED", "cancel": "CANCELED", "roll_back": "ROLLING_BACK"},
    "RUNNING": {
        "ask": "WAITING", "pause": "PAUSED", "stop": "PAUSED", "finish": "SUCCEEDED", "cancel": "CANCELED", "roll_back": "ROLLING_BACK",
        "retry": "RUNNING", "join": "RUNNING",
    },
    "PAUSED": {"approve": "RUNNING", "resume": "RUNNING", "cancel": "CANCELED", "roll_back": "ROLLING_BACK", "retry": "RUNNING"},
    "SUCCEEDED": {"roll_back": "ROLLING_BACK", "retry": "RUNNING", "join": "RUNNING"},
    "CANCELED": {"roll_back": "ROLLING_BACK"},
    "ROLLING_BACK": {"undone": "ROLLED_BACK", "cancel": "CANCELED"},
    "ROLLED_BACK": {},
}  # fmt: skip


def after(state: RolloutState, happening: Happening) -> RolloutState:
    """The state that follows.

    Raises:
        Rejected: ``rollout-state``; nothing has changed.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        can = ", ".join(sorted(set(TRANSITIONS[state]) - {"ask", "stop", "finish", "undone", "join"})) or "nothing"
        message = f"a rollout that is {state} cannot {happening.replace('_', ' ')}"
        raise Rejected("rollout-state", message, f"What it can do now: {can.replace('_', ' ')}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> RUNNING", "    [*] --> WAITING"]
    for state, row in TRANSITIONS.items():
        by_target: dict[RolloutState, list[str]] = {}
        for happening, target in row.items():
            by_target.setdefault(target, []).append(happening)
        lines += [f"    {state} --> {target}: {', '.join(names)}" for target, names in by_target.items()]
    lines += [f"    {state} --> [*]" for state in STATES if state in OVER]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class WaveFacts:
    """One wave as it stands. Every released device is exactly one of succeeded, failed, replaced (another goal took its place) and open.

    `silent` are those of the failed whose time ran out. `open_for_s` is the time since the wave was opened, 0 while it is not.
    """

    size: int
    released: int = 0
    succeeded: int = 0
    failed: int = 0
    silent: int = 0
    replaced: int = 0
    open_for_s: float = 0.0

    @property
    def open(self) -> int:
        return self.released - self.succeeded - self.failed - self.replaced

    @property
    def counted(self) -> int:
        """Those whose end says something about this rollout."""
        return self.size - self.replaced


@dataclass(frozen=True, slots=True)
class Facts:
    """What `decide` looks at. `waves` are the opened ones, then the others; `wave` is the open one.

    `approved` is the last wave that a person has let through; `forgiven` the number of failures that a person has accepted by resuming.
    """

    state: RolloutState
    wave: int
    approved: int
    forgiven: int
    waves: Sequence[WaveFacts]
    evidence: Evidence = "proven"
    evidence_note: str = ""
    to_undo: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now; nothing of it when all fields are as here. `release` more devices of the open wave, or open the next one."""

    happening: Happening | None = None
    reason: Reason | None = None
    release: int = 0
    open_next: bool = False


WAIT = Decision()


def decide(plan: RolloutPlan, facts: Facts) -> Decision:
    """The next thing to do for a rollout; asked again after every change, and as time passes."""
    if facts.state == "ROLLING_BACK":
        return WAIT if facts.to_undo else Decision("undone")
    if facts.state != "RUNNING":
        return WAIT
    failure = _failure(plan, facts)
    if failure is not None:
        return Decision("roll_back" if plan.on_failure == "roll-back" else "stop", failure)
    if _needs_approval(plan, facts.wave) and facts.approved < facts.wave:
        return Decision("ask", Reason("approval-needed", f"wave {facts.wave + 1} waits for approval", "edgewright fleet approve", "rejected"))
    wave = facts.waves[facts.wave]
    if wave.released < wave.size:
        upto = allowance(plan, facts.wave, wave.open_for_s)
        return Decision(release=max(0, (wave.size if upto is None else min(upto, wave.size)) - wave.released))
    if not _is_over(plan, wave):
        return WAIT
    return _promote(plan, facts, wave)


def _needs_approval(plan: RolloutPlan, wave: int) -> bool:
    return plan.approval == "each-wave" or (plan.approval == "start" and wave == 0)


def _failure(plan: RolloutPlan, facts: Facts) -> Reason | None:
    """Why the rollout must not go on, if so."""
    hint = "See the failed devices, then resume, retry, cancel or roll back"
    opened = facts.waves[: facts.wave + 1]
    excess = max(0, sum(wave.failed for wave in opened) - facts.forgiven)
    if plan.max_failed is not None and excess > plan.max_failed:
        return Reason("rollout-failures", f"{excess} devices failed, {plan.max_failed} may", hint, "unfit")
    for number, wave in enumerate(opened):
        failed = min(wave.failed, excess)
        if failed > plan.max_failed_share * wave.counted:
            silent = f", {wave.silent} of them silent" if wave.silent else ""
            message = f"{failed} of {wave.counted} devices of wave {number + 1} failed{silent}; {plan.max_failed_share:.1%} may"
            return Reason("rollout-failures", message, hint, "unfit")
    if facts.evidence == "worse" and facts.approved <= facts.wave:
        return Reason("rollout-worse", f"what wave {facts.wave + 1} measured is worse: {facts.evidence_note}", hint, "rejected")
    return None


def _is_over(plan: RolloutPlan, wave: WaveFacts) -> bool:
    if wave.open_for_s < plan.soak_s:
        return False
    return wave.open == 0 or (wave.succeeded > 0 and wave.succeeded >= plan.min_succeeded_share * wave.counted)


def _promote(plan: RolloutPlan, facts: Facts, wave: WaveFacts) -> Decision:
    """The open wave is over: the next one, the end, or a person."""
    is_last = facts.wave + 1 == len(facts.waves)
    is_let_through = facts.approved > facts.wave
    if is_last:
        return WAIT if any(entry.open for entry in facts.waves) else Decision("finish")
    excess = max(0, sum(entry.failed for entry in facts.waves[: facts.wave + 1]) - facts.forgiven)
    if wave.succeeded + min(wave.failed, facts.forgiven) < plan.min_succeeded_share * wave.counted and excess and not is_let_through:
        message = f"{wave.succeeded} of {wave.counted} devices of wave {facts.wave + 1} succeeded; {plan.min_succeeded_share:.1%} must"
        return Decision("stop", Reason("rollout-failures", message, "See the failed devices, then resume, retry, cancel or roll back", "unfit"))
    if facts.evidence == "unproven" and not is_let_through:
        if wave.open:
            return WAIT
        if plan.on_unproven == "pause":
            reason = Reason("rollout-unproven", facts.evidence_note, "Resume to go on all the same, or begin with more canaries", "rejected")
            return Decision("stop", reason)
    return Decision(open_next=True)
