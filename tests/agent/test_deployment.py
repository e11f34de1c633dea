"""The state machine: DESIGN §7 written down once more, by hand, and compared; and what is not in it changes nothing."""

from __future__ import annotations

from typing import get_args

import pytest
from edgewright.agent.deployment import HAPPENINGS, TRANSITIONS, after, diagram, is_open, is_undone_first
from edgewright.core.errors import Faulty
from edgewright.core.wire.messages import TERMINAL_STATES, State

STATES: tuple[State, ...] = get_args(State)
BEFORE = ["OFFERED", "ACCEPTED", "DOWNLOADING", "PAUSED", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED"]
ENDS = {"reject": "REJECTED", "fail": "FAILED", "cancel": "CANCELED", "time_out": "TIMED_OUT", "supersede": "SUPERSEDED"}
LEGAL = {
    ("OFFERED", "accept"): "ACCEPTED",
    ("ACCEPTED", "download"): "DOWNLOADING",
    ("DOWNLOADING", "pause"): "PAUSED",
    ("PAUSED", "resume"): "DOWNLOADING",
    ("DOWNLOADING", "downloaded"): "VERIFIED",
    ("VERIFIED", "optimize"): "OPTIMIZING",
    ("OPTIMIZING", "measured"): "MEASURED",
    ("MEASURED", "gate_passed"): "GATED",
    ("GATED", "stage"): "STAGED",
    ("STAGED", "activate"): "ACTIVATING",
    ("ACTIVATING", "probe"): "PROBATION",
    ("PROBATION", "confirm"): "SUCCEEDED",
    ("ACTIVATING", "roll_back"): "ROLLING_BACK",
    ("PROBATION", "roll_back"): "ROLLING_BACK",
    ("ROLLING_BACK", "rolled_back"): "FAILED",
    ("SUCCEEDED", "retry"): "ACCEPTED",
} | {(state, happening): end for state in BEFORE for happening, end in ENDS.items()}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("happening", HAPPENINGS)
def test_each_event_of_each_state_leads_where_the_design_says_or_raises(state: State, happening: str) -> None:
    expected = LEGAL.get((state, happening))
    if expected is not None:
        assert expected == after(state, happening)
        return
    before = {name: dict(row) for name, row in TRANSITIONS.items()}
    with pytest.raises(Faulty) as caught:
        after(state, happening)

    assert caught.value.code == "illegal-transition"
    assert happening in caught.value.message
    assert state in caught.value.message
    assert before == TRANSITIONS


def test_an_event_that_nobody_knows_raises_too() -> None:
    with pytest.raises(Faulty, match="explode"):
        after("OFFERED", "explode")


@pytest.mark.parametrize("state", STATES)
def test_every_open_state_reaches_a_terminal_one_and_no_terminal_one_is_open(state: State) -> None:
    assert is_open(state) == (state not in TERMINAL_STATES)
    reached, waiting = {state}, [state]
    while waiting:
        for target in TRANSITIONS[waiting.pop()].values():
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    assert reached & TERMINAL_STATES


def test_what_has_changed_the_device_is_undone_before_it_ends() -> None:
    undone = {state for state in STATES if is_undone_first(state)}

    assert undone == {"ACTIVATING", "PROBATION", "ROLLING_BACK"}
    assert not any(TRANSITIONS[state].keys() & ENDS.keys() for state in undone)


def test_the_diagram_has_every_transition_and_no_other() -> None:
    lines = diagram().splitlines()
    drawn = {
        (source, happening.strip()): target
        for line in lines
        if ": " in line
        for source, _, rest in [line.strip().partition(" --> ")]
        for target, _, happenings in [rest.partition(": ")]
        for happening in happenings.split(",")
    }

    assert lines[:2] == ["stateDiagram-v2", "    [*] --> OFFERED"]
    assert drawn == LEGAL
    assert {line.split()[0] for line in lines if line.endswith("--> [*]")} == TERMINAL_STATES
