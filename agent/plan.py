"""What to do next for one model. Pure: facts in, one action or None out. The daemon's loop asks again whenever something has changed.

The plan compares what is wanted with what is, and never remembers: after a crash the same facts give the same action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import Reason
from ..core.wire.messages import State
from .deployment import Happening, is_open, is_undone_first
from .journal import DeploymentRecord, ModelRecord
from .slots import Slots

Verb = Literal[
    "start", "check", "download", "fetch", "pause", "resume", "build", "gate", "stage", "activate", "probe", "watch", "undo", "end", "remove",
    "retry", "fall_back", "return",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """What to do; `happening` and `reason` say how a deployment ends, where it does."""

    verb: Verb
    happening: Happening | None = None
    reason: Reason | None = None

    @property
    def is_end(self) -> bool:
        """Whether it stops what is under way, rather than going on with it."""
        return self.happening is not None and self.verb in {"end", "undo"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the plan looks at.

    `transfer` says whose the one transfer is. `runtime` names this device's runtimes and versions, empty while it is not known.
    `is_goal_known` is false until a first goal came: nothing is removed before. `may_activate` is the order's activation policy, as it answers now.
    """

    record: ModelRecord
    slots: Slots
    is_link_up: bool
    transfer: Literal["nobody's", "mine", "another's"]
    runtime: str
    is_goal_known: bool = True
    max_deadline_s: float = 7 * 86400.0
    may_activate: bool = True


_NEXT: dict[State, Verb] = {
    "OFFERED": "check",
    "VERIFIED": "build",
    "OPTIMIZING": "build",
    "MEASURED": "gate",
    "GATED": "stage",
    "STAGED": "activate",
    "ACTIVATING": "probe",
    "PROBATION": "watch",
    "ROLLING_BACK": "undo",
}


def next_action(facts: Facts) -> Action | None:
    """The one thing to do now; None = wait for something to change."""
    deployment = facts.record.deployment
    if deployment is None or not is_open(deployment.state):
        return _for_closed(facts)
    if deployment.state != "ROLLING_BACK":
        ending = _ending(facts, deployment)
        if ending is not None:
            return ending
    if deployment.state == "STAGED" and not facts.may_activate:
        return None
    verb = _next_of_transfer(facts, deployment.state) if deployment.state not in _NEXT else _NEXT[deployment.state]
    return None if verb is None else Action(verb)


def _next_of_transfer(facts: Facts, state: State) -> Verb | None:
    """One deployment downloads at a time: the others wait where they are."""
    if facts.transfer == "another's":
        return None
    if state == "ACCEPTED":
        return "download"
    if state == "PAUSED":
        return "resume" if facts.is_link_up else None
    if facts.transfer == "nobody's":
        return "fetch"  # a restart has ended it; without a link this finds what is on disk already
    return None if facts.is_link_up else "pause"


def _for_closed(facts: Facts) -> Action | None:
    record, deployment = facts.record, facts.record.deployment
    if record.leaving:
        return Action("fall_back")
    if record.wanted is None:
        return Action("remove") if facts.is_goal_known else None
    if record.held:
        return None
    if deployment is None or not (_is_wanted(record, deployment) or _runs_already(facts)):
        return Action("return" if _is_at_hand(facts) else "start")
    return _again(facts, deployment)


def _again(facts: Facts, deployment: DeploymentRecord) -> Action | None:
    """Whether what succeeded once has to be built once more."""
    proven, active = facts.record.proven, facts.slots.active
    if proven is None:
        return None
    is_active = active is not None and active.deployment == proven.order.deployment
    if deployment.state == "SUCCEEDED" and not is_active:
        return Action("retry", "retry", Reason("not-active", "its engine is not the active one any more", "It is built and activated again", "unfit"))
    if is_active and facts.runtime and proven.runtime != facts.runtime:
        message = f"this device's runtime changed from {proven.runtime or 'an unknown one'} to {facts.runtime}"
        return Action("retry", "retry", Reason("runtime-changed", message, "The engine is built again", "unfit"))
    return None


def _is_wanted(record: ModelRecord, deployment: DeploymentRecord) -> bool:
    """Whether `deployment` serves the goal: it is the wanted one, or the wanted one came to its end here and what ran before is built again."""
    return record.wanted is not None and record.wanted.key in {deployment.order.key, record.settled}


def _runs_already(facts: Facts) -> bool:
    """Whether the goal came back to what succeeded before and is active still."""
    wanted, proven, active = facts.record.wanted, facts.record.proven, facts.slots.active
    if wanted is None or proven is None or active is None:
        return False
    return wanted.deployment == proven.order.deployment == active.deployment


def _is_at_hand(facts: Facts) -> bool:
    """Whether the goal went back to what ran before the present engine, and that one is whole in the previous slot."""
    wanted, former, previous = facts.record.wanted, facts.record.former, facts.slots.previous
    if wanted is None or former is None or previous is None or facts.slots.active is None:
        return False
    return wanted.key == former.order.key and previous.folder == former.engine_folder and former.runtime == facts.runtime


def _ending(facts: Facts, deployment: DeploymentRecord) -> Action | None:
    """Why an open deployment must not go on, if so. After activation that means undoing it."""
    happening, reason = _why_end(facts, deployment)
    if happening is None or reason is None:
        return None
    if is_undone_first(deployment.state):
        return Action("undo", "roll_back", reason)
    return Action("end", happening, reason)


def _why_end(facts: Facts, deployment: DeploymentRecord) -> tuple[Happening | None, Reason | None]:
    record = facts.record
    if deployment.cancel is not None:
        return "cancel", deployment.cancel
    if record.wanted is None:
        if facts.is_goal_known:
            return "supersede", Reason("removed", "the model is no longer wanted on this device", "", "rejected")
    elif not _is_wanted(record, deployment):
        return "supersede", Reason("superseded", f"the newer deployment {record.wanted.deployment} takes its place", "", "rejected")
    deadline_s = min(deployment.order.deadline_s, facts.max_deadline_s)
    if deployment.elapsed_s > deadline_s:
        message = f"it was not finished after {deadline_s:g} s"
        return "time_out", Reason("deadline", message, "Allow more time, or look why it waits: edgewright agent explain", "unfit")
    if is_undone_first(deployment.state) and facts.slots.reverted_from == deployment.engine_folder:
        return "roll_back", facts.slots.reverted
    if deployment.state == "PROBATION" and not _is_running(facts.slots, deployment):
        return "roll_back", Reason("trial-lost", "the engine on trial was taken out from outside the agent", "Send the deployment again", "unfit")
    return None, None


def _is_running(slots: Slots, deployment: DeploymentRecord) -> bool:
    """On trial; or active already, when a crash came between the slots' confirmation and the journal's."""
    return slots.running is not None and slots.running.folder == deployment.engine_folder
