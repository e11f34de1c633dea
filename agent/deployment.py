"""The state machine of a deployment (DESIGN §7). Pure: a table, and one function that reads it.

An event that the table does not have for a state raises and changes nothing. ``docs/state-machine.md`` is generated from the table.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..core.errors import Faulty
from ..core.wire.messages import TERMINAL_STATES, State

Happening = Literal[
    "accept", "download", "pause", "resume", "downloaded", "optimize", "measured", "gate_passed", "stage", "activate", "probe", "confirm",
    "reject", "fail", "cancel", "time_out", "supersede", "roll_back", "rolled_back", "retry",
]  # fmt: skip
HAPPENINGS: tuple[Happening, ...] = get_args(Happening)

# The road of a deployment that succeeds, and the one detour.
_FORWARD: dict[State, dict[Happening, State]] = {
    "OFFERED": {"accept": "ACCEPTED"},
    "ACCEPTED": {"download": "DOWNLOADING"},
    "DOWNLOADING": {"pause": "PAUSED", "downloaded": "VERIFIED"},
    "PAUSED": {"resume": "DOWNLOADING"},
    "VERIFIED": {"optimize": "OPTIMIZING"},
    "OPTIMIZING": {"measured": "MEASURED"},
    "MEASURED": {"gate_passed": "GATED"},
    "GATED": {"stage": "STAGED"},
    "STAGED": {"activate": "ACTIVATING"},
    "ACTIVATING": {"probe": "PROBATION"},
    "PROBATION": {"confirm": "SUCCEEDED"},
    "ROLLING_BACK": {"rolled_back": "FAILED"},
    # A new runtime on this device (another JetPack or driver): the same deployment is built again.
    "SUCCEEDED": {"retry": "ACCEPTED"},
}
_BEFORE_EFFECT: tuple[State, ...] = (
    "OFFERED", "ACCEPTED", "DOWNLOADING", "PAUSED", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED",
)  # fmt: skip
_ENDINGS: dict[Happening, State] = {
    "reject": "REJECTED",
    "fail": "FAILED",
    "cancel": "CANCELED",
    "time_out": "TIMED_OUT",
    "supersede": "SUPERSEDED",
}


def _build() -> dict[State, dict[Happening, State]]:
    table: dict[State, dict[Happening, State]] = {state: dict(_FORWARD.get(state, {})) for state in get_args(State)}
    for state in _BEFORE_EFFECT:
        table[state].update(_ENDINGS)
    for state in ("ACTIVATING", "PROBATION"):
        # From here on the device has changed: every way out but success undoes it first.
        table[state]["roll_back"] = "ROLLING_BACK"
    return table


TRANSITIONS: dict[State, dict[Happening, State]] = _build()


def after(state: State, happening: Happening) -> State:
    """The state that follows.

    Raises:
        Faulty: ``illegal-transition``; nothing has changed.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise Faulty("illegal-transition", f"{happening!r} cannot happen to a deployment that is {state}", "Report this") from None


def is_open(state: State) -> bool:
    """Whether the deployment still has a way to go."""
    return state not in TERMINAL_STATES


def is_undone_first(state: State) -> bool:
    """Whether the device has changed already, so that an end means rolling back."""
    return state in {"ACTIVATING", "PROBATION", "ROLLING_BACK"}


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> OFFERED"]
    for state, row in TRANSITIONS.items():
        by_target: dict[State, list[str]] = {}
        for happening, target in row.items():
            by_target.setdefault(target, []).append(happening)
        lines += [f"    {state} --> {target}: {', '.join(names)}" for target, names in by_target.items()]
    lines += [f"    {state} --> [*]" for state in get_args(State) if state in TERMINAL_STATES]
    return "\n".join(lines)
