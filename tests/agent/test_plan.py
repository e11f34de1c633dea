"""The plan: every row. Facts in, one action or None out."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from edgewright.agent.deployment import TRANSITIONS
from edgewright.agent.journal import DeploymentRecord, ModelRecord
from edgewright.agent.plan import Action, Facts, next_action
from edgewright.agent.slots import Slot, Slots
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import TERMINAL_STATES, Order, State
from hypothesis import given
from hypothesis import strategies as st

OPEN: tuple[State, ...] = tuple(state for state in get_args(State) if state not in TERMINAL_STATES)
REASON = Reason("why", "because", "", "unfit")


def order(name: str, **fields: Any) -> Order:
    return Order(deployment=name, version="1", model=Artifact({"model.onnx": Blob("0" * 64, 1)}), model_file="model.onnx", **fields)


def slot(folder: str) -> Slot:
    return Slot(folder=folder, deployment=folder.rpartition("-")[0], version="1", backend="null", engine_digest="", since_s=0.0)


def deployment(name: str, state: State, **fields: Any) -> DeploymentRecord:
    return DeploymentRecord(order=fields.pop("order", order(name)), state=state, **fields)


def facts(record: ModelRecord, **fields: Any) -> Facts:
    defaults = {"slots": Slots(), "is_link_up": True, "transfer": "nobody's", "runtime": "rt 1"}
    return Facts(record=record, **(defaults | fields))


def wanted(name: str, state: State, **fields: Any) -> ModelRecord:
    """A model whose wanted deployment `name` is in `state`."""
    return ModelRecord(wanted=order(name), deployment=deployment(name, state, **fields), settled=name if state in TERMINAL_STATES else "")


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("OFFERED", "check"),
        ("ACCEPTED", "download"),
        ("DOWNLOADING", "fetch"),
        ("PAUSED", "resume"),
        ("VERIFIED", "build"),
        ("OPTIMIZING", "build"),
        ("MEASURED", "gate"),
        ("GATED", "stage"),
        ("STAGED", "activate"),
        ("ACTIVATING", "probe"),
        ("PROBATION", "watch"),
        ("ROLLING_BACK", "undo"),
    ],
)
def test_each_open_state_has_its_next_step(state: State, verb: str) -> None:
    running = Slots(trial=slot("d1-1")) if state == "PROBATION" else Slots()

    assert next_action(facts(wanted("d1", state), slots=running)) == Action(verb)


def test_every_open_state_stands_in_the_table_above() -> None:
    assert len(OPEN) == 12


@pytest.mark.parametrize(
    ("state", "transfer", "is_link_up", "verb"),
    [
        ("ACCEPTED", "nobody's", False, "download"),
        ("ACCEPTED", "another's", True, None),
        ("DOWNLOADING", "nobody's", False, "fetch"),
        ("DOWNLOADING", "mine", True, None),
        ("DOWNLOADING", "mine", False, "pause"),
        ("DOWNLOADING", "another's", True, None),
        ("DOWNLOADING", "another's", False, None),
        ("PAUSED", "mine", True, "resume"),
        ("PAUSED", "mine", False, None),
        ("PAUSED", "nobody's", False, None),
        ("PAUSED", "another's", True, None),
    ],
)
def test_one_transfer_at_a_time_follows_the_connection(state: State, transfer: str, is_link_up: bool, verb: str | None) -> None:
    action = next_action(facts(wanted("d1", state), transfer=transfer, is_link_up=is_link_up))

    assert (action.verb if action is not None else None) == verb


# --- nothing under way ---


def test_a_goal_is_started() -> None:
    assert next_action(facts(ModelRecord(wanted=order("d1")))) == Action("start")


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES - {"SUCCEEDED"}))
def test_a_goal_that_came_to_its_end_is_not_started_again(state: State) -> None:
    assert next_action(facts(wanted("d1", state))) is None


def test_a_goal_that_runs_needs_nothing() -> None:
    record = wanted("d1", "SUCCEEDED", runtime="rt 1")
    record.proven = record.deployment

    assert next_action(facts(record, slots=Slots(active=slot("d1-1")))) is None


def test_another_goal_is_started_after_any_end() -> None:
    for state in sorted(TERMINAL_STATES):
        record = wanted("d1", state)
        record.wanted = order("d2")

        assert next_action(facts(record)) == Action("start"), state


def test_what_succeeded_and_is_not_active_is_built_again() -> None:
    record = wanted("d1", "SUCCEEDED", runtime="rt 1")
    record.proven = record.deployment

    action = next_action(facts(record, slots=Slots(active=slot("d0-1"))))
    assert action is not None
    assert (action.verb, action.reason.code if action.reason else "") == ("retry", "not-active")


@pytest.mark.parametrize(("runtime", "verb"), [("rt 1", None), ("", None), ("rt 2", "retry")])
def test_another_runtime_builds_what_runs_again(runtime: str, verb: str | None) -> None:
    record = wanted("d1", "SUCCEEDED", runtime="rt 1")
    record.proven = record.deployment

    action = next_action(facts(record, slots=Slots(active=slot("d1-1")), runtime=runtime))
    assert (action.verb if action else None) == verb


def test_another_runtime_builds_what_runs_again_also_after_a_later_one_was_refused() -> None:
    record = wanted("d2", "REJECTED")
    record.proven = deployment("d1", "SUCCEEDED", runtime="rt 1")

    action = next_action(facts(record, slots=Slots(active=slot("d1-1")), runtime="rt 2"))
    assert action is not None
    assert action.verb == "retry"


def test_what_is_built_again_is_not_superseded_by_the_goal_that_was_refused() -> None:
    record = ModelRecord(wanted=order("d2"), settled="d2", deployment=deployment("d1", "OPTIMIZING", attempt=2))

    assert next_action(facts(record)) == Action("build")


def test_a_goal_that_comes_back_to_what_runs_needs_nothing() -> None:
    record = ModelRecord(wanted=order("d1"), deployment=deployment("d2", "SUPERSEDED"), proven=deployment("d1", "SUCCEEDED", runtime="rt 1"))

    assert next_action(facts(record, slots=Slots(active=slot("d1-1")))) is None


def test_a_model_that_nobody_wants_is_removed_once_a_goal_is_known() -> None:
    record = ModelRecord(deployment=deployment("d1", "SUCCEEDED"))

    assert next_action(facts(record)) == Action("remove")
    assert next_action(facts(record, is_goal_known=False)) is None


def test_a_held_model_waits_for_its_owner_whatever_the_goal() -> None:
    record = ModelRecord(wanted=order("d2"), held=True, deployment=deployment("d1", "SUCCEEDED"))

    assert next_action(facts(record)) is None


def test_a_held_model_is_removed_when_nobody_wants_it() -> None:
    assert next_action(facts(ModelRecord(held=True, deployment=deployment("d1", "SUCCEEDED")))) == Action("remove")


def test_a_roll_back_of_the_owner_goes_before_everything_else() -> None:
    record = ModelRecord(wanted=order("d2"), held=True, leaving="d1-1", deployment=deployment("d1", "SUCCEEDED"))

    assert next_action(facts(record)) == Action("fall_back")


# --- ends ---

BEFORE_EFFECT = [state for state in OPEN if state not in {"ACTIVATING", "PROBATION", "ROLLING_BACK"}]


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("why", ["cancelled", "superseded", "removed", "late"])
def test_what_must_not_go_on_ends_or_is_undone_first(state: State, why: str) -> None:
    record = wanted("d1", state)
    assert record.deployment is not None
    if why == "cancelled":
        record.deployment.cancel = REASON
    elif why == "superseded":
        record.wanted = order("d2")
    elif why == "removed":
        record.wanted = None
    else:
        record.deployment.elapsed_s = 86401.0
    action = next_action(facts(record, slots=Slots(trial=slot("d1-1"))))

    assert action is not None
    if state == "ROLLING_BACK":
        assert action == Action("undo")
        return
    happening = {"cancelled": "cancel", "superseded": "supersede", "removed": "supersede", "late": "time_out"}[why]
    assert (action.verb, action.happening) == (("end", happening) if state in BEFORE_EFFECT else ("undo", "roll_back"))
    assert action.reason is not None
    assert action.is_end
    assert action.happening in TRANSITIONS[state]


def test_nothing_is_removed_while_it_is_deployed_before_a_goal_is_known() -> None:
    record = wanted("d1", "OPTIMIZING")
    record.wanted = None

    assert next_action(facts(record, is_goal_known=False)) == Action("build")


def test_the_device_s_deadline_bounds_the_order_s() -> None:
    record = ModelRecord(wanted=order("d1"), deployment=deployment("d1", "OPTIMIZING", elapsed_s=11.0))

    action = next_action(facts(record, max_deadline_s=10.0))
    assert action is not None
    assert action.happening == "time_out"
    assert next_action(facts(record, max_deadline_s=11.0)) == Action("build")


@pytest.mark.parametrize("state", ["ACTIVATING", "PROBATION"])
def test_a_trial_that_was_taken_out_for_crashing_is_rolled_back_for_that_reason(state: State) -> None:
    action = next_action(facts(wanted("d1", state), slots=Slots(active=slot("d0-1"), reverted=REASON, reverted_from="d1-1")))

    assert action == Action("undo", "roll_back", REASON)


def test_what_became_of_another_trial_is_no_reason() -> None:
    action = next_action(facts(wanted("d1", "ACTIVATING"), slots=Slots(active=slot("d0-1"), reverted=REASON, reverted_from="d0-2")))

    assert action == Action("probe")


def test_a_probation_whose_engine_does_not_run_is_rolled_back() -> None:
    for slots in (Slots(), Slots(active=slot("d0-1")), Slots(active=slot("d0-1"), trial=slot("d9-1"))):
        action = next_action(facts(wanted("d1", "PROBATION"), slots=slots))

        assert action is not None
        assert (action.verb, action.reason.code if action.reason else "") == ("undo", "trial-lost")


def test_a_crash_between_the_two_confirmations_is_no_lost_trial() -> None:
    assert next_action(facts(wanted("d1", "PROBATION"), slots=Slots(active=slot("d1-1")))) == Action("watch")


@given(
    state=st.sampled_from(get_args(State)),
    has_goal=st.sampled_from([None, "d1", "d2"]),
    settled=st.sampled_from(["", "d1", "d2"]),
    is_held=st.booleans(),
    leaving=st.sampled_from(["", "d1-1"]),
    proven=st.sampled_from([None, "d1", "d0"]),
    active=st.sampled_from([None, "d1-1", "d0-1"]),
    trial=st.sampled_from([None, "d1-1"]),
    transfer=st.sampled_from(["nobody's", "mine", "another's"]),
    booleans=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    elapsed_s=st.sampled_from([0.0, 1e9]),
)
def test_whatever_the_facts_the_action_fits_the_state(
    state: State,
    has_goal: str | None,
    settled: str,
    is_held: bool,
    leaving: str,
    proven: str | None,
    active: str | None,
    trial: str | None,
    transfer: str,
    booleans: tuple[bool, bool, bool],
    elapsed_s: float,
) -> None:
    is_link_up, is_cancelled, is_goal_known = booleans
    record = ModelRecord(
        wanted=order(has_goal) if has_goal else None,
        settled=settled,
        held=is_held,
        leaving=leaving,
        deployment=deployment("d1", state, elapsed_s=elapsed_s, cancel=REASON if is_cancelled else None),
        proven=deployment(proven, "SUCCEEDED") if proven else None,
    )
    slots = Slots(active=slot(active) if active else None, trial=slot(trial) if trial else None)
    action = next_action(facts(record, slots=slots, is_link_up=is_link_up, transfer=transfer, is_goal_known=is_goal_known))

    if action is None or action.verb == "retry":
        return
    if action.happening is not None:
        assert action.happening in TRANSITIONS[state]
        assert action.reason is not None
    assert (action.verb in {"start", "remove", "fall_back"}) == (state in TERMINAL_STATES)
