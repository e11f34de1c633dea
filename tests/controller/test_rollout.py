from __future__ import annotations

from dataclasses import replace

import pytest
from edgewright.controller.rollout import HAPPENINGS, OVER, STATES, TRANSITIONS, WAIT, Decision, Facts, WaveFacts, after, decide, diagram
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.core.errors import Rejected
from hypothesis import given
from hypothesis import strategies as st

PLAN = RolloutPlan(max_failed_share=0.1, min_succeeded_share=0.9, device_timeout_s=100.0)
FRESH = WaveFacts(size=10)
DONE = WaveFacts(size=10, released=10, succeeded=10, open_for_s=50.0)


def facts(*waves: WaveFacts, **changes) -> Facts:
    fields = {"state": "RUNNING", "wave": 0, "approved": -1, "forgiven": 0} | changes
    return Facts(waves=waves, **fields)


# --- the table ---


def test_an_order_that_a_state_does_not_know_is_refused_and_says_what_it_can():
    with pytest.raises(Rejected) as caught:
        after("ROLLED_BACK", "resume")

    assert caught.value.code == "rollout-state"
    assert "ROLLED_BACK" in caught.value.message
    assert "resume" in caught.value.message


def test_cancel_ends_every_rollout_that_has_not_ended():
    assert {after(state, "cancel") for state in STATES if state not in OVER} == {"CANCELED"}


def test_every_state_is_reached_and_every_state_has_a_way_to_an_end():
    reached = {"RUNNING"}
    ends = {state for state in STATES if state in OVER}
    for _ in STATES:
        reached |= {target for state in reached for target in TRANSITIONS[state].values()}
        ends |= {state for state in STATES if ends & set(TRANSITIONS[state].values())}

    assert reached == set(STATES)
    assert ends == set(STATES)


def test_the_diagram_shows_every_transition():
    text = diagram()

    assert all(f"{state} --> {target}" in text for state, row in TRANSITIONS.items() for target in row.values())


# --- waves ---


def test_the_open_wave_is_released_and_no_other():
    assert decide(PLAN, facts(FRESH, FRESH)) == Decision(release=10)


def test_the_rest_of_a_half_released_wave_is_released():
    assert decide(PLAN, facts(WaveFacts(size=10, released=4))) == Decision(release=6)


def test_a_rate_holds_devices_back():
    plan = RolloutPlan(rate_per_min=6.0)

    assert decide(plan, facts(WaveFacts(size=10, released=1, open_for_s=20.0))) == Decision(release=2)
    assert decide(plan, facts(WaveFacts(size=10, released=3, open_for_s=20.0))) == Decision(release=0)


def test_nothing_happens_while_devices_are_at_it():
    assert decide(PLAN, facts(WaveFacts(size=10, released=10, succeeded=3))) == WAIT


def test_a_wave_that_is_done_opens_the_next():
    assert decide(PLAN, facts(DONE, FRESH)) == Decision(open_next=True)


def test_enough_successes_open_the_next_wave_while_the_last_device_is_at_it():
    assert decide(PLAN, facts(WaveFacts(size=10, released=10, succeeded=9), FRESH)) == Decision(open_next=True)


def test_a_wave_soaks_before_the_next():
    plan = replace_plan(soak_s=60.0)

    assert decide(plan, facts(DONE, FRESH)) == WAIT
    assert decide(plan, facts(replace(DONE, open_for_s=60.0), FRESH)) == Decision(open_next=True)


def test_the_last_wave_ends_the_rollout_when_everybody_is_done():
    late = WaveFacts(size=10, released=10, succeeded=9)

    assert decide(PLAN, facts(late, DONE, wave=1)) == WAIT
    assert decide(PLAN, facts(DONE, DONE, wave=1)) == Decision("finish")


def test_a_wave_whose_devices_all_got_another_goal_is_over():
    assert decide(PLAN, facts(WaveFacts(size=3, released=3, replaced=3), FRESH)) == Decision(open_next=True)


def test_a_wave_without_devices_is_over():
    assert decide(PLAN, facts(WaveFacts(size=0), FRESH)) == Decision(open_next=True)


# --- limits ---


def test_more_than_the_share_of_failures_stops():
    decision = decide(PLAN, facts(WaveFacts(size=10, released=10, succeeded=5, failed=2, silent=1), FRESH))

    assert decision.happening == "stop"
    assert decision.reason is not None
    assert decision.reason.code == "rollout-failures"
    assert "2 of 10 devices of wave 1 failed, 1 of them silent" in decision.reason.message


def test_exactly_the_share_does_not_stop():
    assert decide(PLAN, facts(WaveFacts(size=10, released=10, succeeded=9, failed=1), FRESH)) == Decision(open_next=True)


def test_more_than_the_number_of_failures_stops_over_all_waves():
    plan = replace_plan(max_failed=1)
    waves = [WaveFacts(size=100, released=100, succeeded=99, failed=1), WaveFacts(size=100, released=100, succeeded=50, failed=1)]

    assert decide(plan, facts(*waves, wave=0)) == Decision(open_next=True)
    assert decide(plan, facts(*waves, wave=1)).happening == "stop"


def test_late_failures_of_an_earlier_wave_count():
    assert decide(PLAN, facts(replace(DONE, succeeded=8, failed=2), FRESH, wave=1)).happening == "stop"


def test_failures_roll_the_fleet_back_where_the_plan_says_so():
    plan = replace_plan(on_failure="roll-back")

    assert decide(plan, facts(WaveFacts(size=10, released=10, failed=5))).happening == "roll_back"


def test_failures_that_a_person_has_accepted_do_not_stop_again_but_new_ones_do():
    wave = WaveFacts(size=10, released=10, succeeded=7, failed=3)

    assert decide(PLAN, facts(wave, FRESH, forgiven=3, approved=1)) == Decision(open_next=True)
    assert decide(PLAN, facts(replace(wave, succeeded=5, failed=5), FRESH, forgiven=3, approved=1)).happening == "stop"


# --- approval ---


def test_a_first_wave_that_needs_approval_asks_for_it_before_anything_is_released():
    plan = replace_plan(approval="start")

    assert decide(plan, facts(FRESH, FRESH)).happening == "ask"
    assert decide(plan, facts(FRESH, FRESH, approved=0)) == Decision(release=10)
    assert decide(plan, facts(DONE, FRESH, wave=1, approved=0)) == Decision(release=10)


def test_each_wave_asks_where_the_plan_says_so():
    plan = replace_plan(approval="each-wave")

    assert decide(plan, facts(DONE, FRESH, wave=1, approved=0)).happening == "ask"
    assert decide(plan, facts(DONE, FRESH, wave=1, approved=1)) == Decision(release=10)


# --- measurements ---


def test_worse_measurements_stop_at_once():
    decision = decide(PLAN, facts(WaveFacts(size=10, released=10, succeeded=6), FRESH, evidence="worse", evidence_note="slower"))

    assert decision.happening == "stop"
    assert decision.reason is not None
    assert decision.reason.code == "rollout-worse"
    assert "slower" in decision.reason.message


def test_worse_measurements_roll_back_where_the_plan_says_so():
    assert decide(replace_plan(on_failure="roll-back"), facts(DONE, FRESH, evidence="worse")).happening == "roll_back"


def test_unproven_measurements_wait_for_the_whole_wave_and_then_for_a_person():
    late = WaveFacts(size=10, released=10, succeeded=9)

    assert decide(PLAN, facts(late, FRESH, evidence="unproven")) == WAIT
    decision = decide(PLAN, facts(DONE, FRESH, evidence="unproven", evidence_note="too few"))
    assert decision.happening == "stop"
    assert decision.reason is not None
    assert decision.reason.code == "rollout-unproven"
    assert decide(PLAN, facts(DONE, FRESH, evidence="unproven", approved=1)) == Decision(open_next=True)


def test_unproven_measurements_are_promoted_where_the_plan_says_so():
    assert decide(replace_plan(on_unproven="promote"), facts(DONE, FRESH, evidence="unproven")) == Decision(open_next=True)


def test_unproven_measurements_do_not_keep_the_last_wave_from_ending():
    assert decide(PLAN, facts(DONE, evidence="unproven")) == Decision("finish")


# --- other states ---


@pytest.mark.parametrize("state", ["WAITING", "PAUSED", *sorted(OVER)])
def test_nothing_is_done_unless_it_runs(state):
    assert decide(PLAN, facts(FRESH, state=state)) == WAIT


def test_a_roll_back_ends_when_nobody_is_left_to_undo():
    assert decide(PLAN, facts(DONE, state="ROLLING_BACK", to_undo=3)) == WAIT
    assert decide(PLAN, facts(DONE, state="ROLLING_BACK")) == Decision("undone")


@given(st.data())
def test_whatever_devices_do_the_decision_is_legal_and_every_rollout_ends(data):
    """A small fleet under random ends; time passes, silent devices fail: the rollout comes to an end or to a person."""
    plan = RolloutPlan(
        max_failed_share=data.draw(st.floats(0, 1)),
        min_succeeded_share=data.draw(st.floats(0, 1)),
        on_failure=data.draw(st.sampled_from(["pause", "roll-back"])),
    )
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    waves, state, wave = [WaveFacts(size=size) for size in sizes], "RUNNING", 0
    for _ in range(60):
        decision = decide(plan, Facts(state=state, wave=wave, approved=-1, forgiven=0, waves=waves, to_undo=0))
        if decision.happening is not None:
            assert decision.happening in HAPPENINGS
            state = after(state, decision.happening)
        elif decision.open_next:
            wave += 1
        elif decision.release:
            assert waves[wave].released + decision.release <= waves[wave].size
            waves[wave] = replace(waves[wave], released=waves[wave].released + decision.release)
        elif state != "RUNNING":
            break
        else:
            number = next(index for index, entry in enumerate(waves) if entry.open)
            field = data.draw(st.sampled_from(["succeeded", "failed", "replaced"]))
            waves[number] = replace(waves[number], **{field: getattr(waves[number], field) + 1})

    assert state in {"PAUSED", *OVER}


def replace_plan(**changes) -> RolloutPlan:
    fields = {name: getattr(PLAN, name) for name in RolloutPlan.__struct_fields__}
    return RolloutPlan(**(fields | changes))
