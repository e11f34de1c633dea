"""Whole deployments on a device without threads, processes or a broker: what happens in which order, and what is seen of it."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import pytest
from edgewright.agent import requests
from edgewright.agent.config import LimitsSection, ModelSection
from edgewright.agent.deployer import RETRY_S
from edgewright.agent.journal import JournalFile, ModelRecord
from edgewright.agent.steps import BuildOutcome
from edgewright.core.activation import Activation
from edgewright.core.artifact import Delta, Shortcut
from edgewright.core.budget import Budget
from edgewright.core.errors import Faulty, Reason, Rejected, Unfit
from edgewright.core.wire.frames import CHUNK_BYTES
from edgewright.core.wire.messages import Measurement

ROAD = [
    "OFFERED", "ACCEPTED", "DOWNLOADING", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED", "ACTIVATING", "PROBATION", "SUCCEEDED",
]  # fmt: skip


def test_a_deployment_goes_its_road_and_its_engine_is_what_runs(device: Any, fake_device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()

    assert device.told("d1") == ROAD
    assert device.current() == "d1-1"
    assert fake_device.leftovers(device.state) == []
    assert ("activate", "surface", "d1-1") in device.steps.calls


def test_every_state_is_on_disk_before_the_fleet_hears_of_it(device: Any) -> None:
    seen: list[tuple[str, str]] = []
    publish = device._publish

    def checked(payload: bytes) -> int:
        mid = publish(payload)
        event = list(device.delivered.values())[-1]
        seen.append((event.state, device.on_disk()))
        return mid

    device._publish = checked
    device.want(device.order("d1"))
    device.settle()

    assert [told for told, _ in seen] == ROAD
    assert [(told, stored) for told, stored in seen if told != stored] == []


def test_the_next_version_keeps_the_last_one_as_previous(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2))
    device.settle()

    slots = device.deployer.slots("surface").read()
    assert device.current() == "d2-1"
    assert (slots.active.folder, slots.previous.folder, slots.trial) == ("d2-1", "d1-1", None)
    assert sorted(path.name for path in (device.state / "models/surface/engines").iterdir()) == ["d1-1", "d2-1"]


def test_blobs_of_older_versions_are_deleted_and_those_of_the_running_one_kept(device: Any) -> None:
    first, second = device.order("d1"), device.order("d2", seed=2)
    device.want(first)
    device.settle()
    device.want(second)
    device.settle()

    kept = {path.name for path in (device.state / "blobs").iterdir()}
    assert second.model.files["model.onnx"].digest in kept
    assert first.model.files["model.onnx"].digest not in kept


def test_a_budget_that_is_not_met_ends_in_a_refusal_with_the_first_engine_active(device: Any, fake_device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, budget=Budget(max_size_bytes=10)))
    device.settle()

    assert device.told("d2")[-2:] == ["MEASURED", "REJECTED"]
    assert device.reason_of() == "budget"
    assert device.current() == "d1-1"
    assert fake_device.leftovers(device.state) == []


def test_the_daemon_judges_the_numbers_itself_and_does_not_trust_a_worker_s_verdict(device: Any) -> None:
    device.steps.verdict = "accepted"
    device.want(device.order("d1", budget=Budget(max_top1_drop=0.001)))  # the fake's engine loses 0.01
    device.settle()

    assert (device.state_of(), device.reason_of(), device.current()) == ("REJECTED", "budget", None)


def test_a_worker_that_found_nothing_leads_to_a_refusal(device: Any) -> None:
    device.steps.verdict = "rejected"
    device.want(device.order("d1"))
    device.settle()

    assert (device.state_of(), device.current()) == ("REJECTED", None)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Rejected("model-malformed", "no model", "Send one"), "REJECTED"),
        (Unfit("out-of-memory", "too big", "Send less"), "FAILED"),
        (Faulty("worker-crashed", "it crashed", "Report it"), "FAILED"),
        (Unfit("timed-out", "too slow", "Allow more"), "TIMED_OUT"),
    ],
)
def test_a_build_that_fails_ends_by_whose_fault_it_was(device: Any, error: Any, state: str) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.steps.failures["build"] = error
    device.want(device.order("d2", seed=2))
    device.settle()

    assert (device.state_of(), device.reason_of(), device.current()) == (state, error.code, "d1-1")


@pytest.mark.parametrize("step", ["activate", "probe"])
def test_an_activation_that_fails_is_rolled_back(device: Any, step: str) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.steps.calls.clear()
    device.steps.failures[step] = Unfit("it-failed", "it does not run", "Send another")
    device.want(device.order("d2", seed=2))
    device.settle()

    assert device.told("d2")[-3:] == ["ACTIVATING", "ROLLING_BACK", "FAILED"]
    assert device.reason_of() == "rolled-back"
    assert "it does not run" in device.deployer.deployment("surface").reason.message
    assert device.current() == "d1-1"
    assert [call for call in device.steps.calls if call[0] == "activate"] == [("activate", "surface", "d2-1"), ("activate", "surface", "d1-1")]


def test_without_an_engine_before_a_roll_back_leaves_none(device: Any) -> None:
    device.steps.failures["probe"] = Unfit("engine-unusable", "it does not load", "Send another")
    device.want(device.order("d1"))
    device.settle()

    assert (device.state_of(), device.current()) == ("FAILED", None)


def test_a_roll_back_that_the_disk_refuses_is_tried_again_and_never_passed_over(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.steps.failures["probe"] = Unfit("engine-unusable", "it does not load", "Send another")
    device.want(device.order("d2", seed=2))
    device.run_to("ROLLING_BACK")
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.slots.write_atomic", full_disk)
        device.settle(until_s=2 * RETRY_S)

        assert (device.state_of(), device.current()) == ("ROLLING_BACK", "d2-1")
        assert "disk-full" in {reason.code for reason in device.deployer.problems.values()}
    device.settle()

    assert (device.state_of(), device.current()) == ("FAILED", "d1-1")
    assert device.deployer.problems == {}


def full_disk(*_: object, **__: object) -> None:
    raise Unfit("disk-full", "the disk is full", "Free space")


# --- probation ---


def test_without_a_health_command_probation_lasts_its_time_and_ends_with_a_look_at_the_engine(device: Any) -> None:
    device.want(device.order("d1", probation_s=30.0))
    device.run_to("PROBATION")
    device.steps.calls.clear()
    device.settle(until_s=29.0)
    assert (device.state_of(), device.steps.calls) == ("PROBATION", [])

    device.settle(until_s=2.0)
    assert (device.state_of(), [call[0] for call in device.steps.calls]) == ("SUCCEEDED", ["health", "probe"])


def test_a_health_command_is_asked_at_its_interval_and_its_failure_rolls_back(make_device: Any) -> None:
    device = make_device(models={"surface": ModelSection(health=("check",), health_interval_s=4.0)})
    device.want(device.order("d1", probation_s=30.0))
    device.run_to("PROBATION")
    device.steps.calls.clear()
    device.settle(until_s=9.0)
    assert [call[0] for call in device.steps.calls] == ["health"] * 3
    assert device.deployer.slots("surface").read().trial is not None
    device.steps.failures["health"] = Unfit("health-failed", "the application does not answer", "Look at it")
    device.settle(until_s=5.0)
    assert (device.state_of(), device.current()) == ("FAILED", None)


def test_the_device_s_own_limit_bounds_a_probation(make_device: Any) -> None:
    device = make_device(limits=LimitsSection(min_free_bytes=0, max_probation_s=10.0))
    device.want(device.order("d1", probation_s=5000.0))
    device.settle(until_s=15.0)

    assert device.state_of() == "SUCCEEDED"


def test_a_trial_that_the_revert_process_took_out_is_rolled_back(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, probation_s=30.0))
    device.run_to("PROBATION")
    for _ in range(4):
        device.deployer.slots("surface").count_start(3)
    assert device.current() == "d1-1"
    device.clock.pass_s(1.0)
    device.deployer.advance()
    device.settle()

    assert (device.state_of(), device.current()) == ("FAILED", "d1-1")
    assert "4 times" in device.deployer.deployment("surface").reason.message


def test_a_trial_that_is_taken_out_during_the_last_look_does_not_succeed(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, probation_s=5.0))
    device.run_to("PROBATION")
    device.clock.pass_s(6.0)
    device.deployer.advance()
    assert device.lanes.names() == ["probation surface"]
    for _ in range(4):
        device.deployer.slots("surface").count_start(3)
    device.settle()

    assert (device.state_of(), device.current()) == ("FAILED", "d1-1")
    assert device.told("d2")[-3:] == ["PROBATION", "ROLLING_BACK", "FAILED"]


def test_a_trial_that_somebody_took_out_by_hand_is_rolled_back(device: Any) -> None:
    device.want(device.order("d1", probation_s=30.0))
    device.run_to("PROBATION")
    device.deployer.slots("surface").take_out("d1-1")
    device.settle()

    assert device.state_of() == "FAILED"
    assert "taken out" in device.deployer.deployment("surface").reason.message


# --- ends ---


@pytest.mark.parametrize("state", ["ACCEPTED", "DOWNLOADING", "OPTIMIZING", "GATED"])
def test_a_newer_goal_supersedes_what_is_under_way(device: Any, state: str) -> None:
    device.want(device.order("d1"))
    device.answers = state != "ACCEPTED"
    if state != "ACCEPTED":
        device.run_to(state)
    device.want(device.order("d2", seed=2))
    device.answers = True
    device.settle()

    assert device.told("d1")[-1] == "SUPERSEDED"
    assert (device.told("d2"), device.current()) == (ROAD, "d2-1")


@pytest.mark.parametrize("state", ["ACTIVATING", "PROBATION"])
def test_a_newer_goal_takes_a_trial_out_first(device: Any, state: str) -> None:
    device.want(device.order("d1", probation_s=30.0))
    device.run_to(state)
    device.want(device.order("d2", seed=2))
    device.settle()

    assert device.told("d1")[-2:] == ["ROLLING_BACK", "FAILED"]
    assert (device.told("d2"), device.current()) == (ROAD, "d2-1")


def test_what_runs_is_left_alone_when_its_deployment_is_wanted_again(device: Any) -> None:
    first = device.order("d1")
    device.want(first)
    device.settle()
    device.want(device.order("d2", seed=2))
    device.run_to("OPTIMIZING")
    device.want(first)
    device.settle()

    assert device.told("d2")[-1] == "SUPERSEDED"
    assert (device.current(), device.told("d1")) == ("d1-1", ROAD)


def test_what_failed_is_not_tried_again_with_the_same_goal(device: Any) -> None:
    order = device.order("d1")
    device.steps.failures["build"] = Unfit("out-of-memory", "too big", "Send less")
    device.want(order)
    device.settle()
    device.steps.failures.clear()
    device.want(order)
    device.settle()

    assert device.state_of() == "FAILED"
    assert [call[0] for call in device.steps.calls] == ["build"]


def test_a_model_that_is_absent_from_the_goal_is_removed(device: Any) -> None:
    device.want(device.order("d1"), other=device.order("d2", seed=2))
    device.settle()
    assert device.current("other") == "d2-1"
    device.want(other=device.order("d2", seed=2))
    device.settle()

    assert sorted(device.deployer.journal.models) == ["other"]
    assert sorted(path.name for path in (device.state / "models").iterdir()) == ["other"]
    assert device.current("other") == "d2-1"


def test_a_model_that_is_removed_while_it_is_built_is_cancelled_and_goes(device: Any, fake_device: Any) -> None:
    device.want(device.order("d1"))
    device.run_to("OPTIMIZING")
    device.want()
    device.settle()

    assert device.told("d1")[-1] == "SUPERSEDED"
    assert device.lanes.cancelled == ["build surface"]
    assert device.deployer.journal.models == {}
    assert fake_device.leftovers(device.state) == []
    assert list((device.state / "blobs").iterdir()) == []


def test_nothing_is_removed_before_a_first_goal_is_known(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    (device.state / "journal.json").write_bytes(b"not a journal")
    device.start()
    device.settle()

    assert (device.current(), sorted(device.deployer.journal.models)) == ("d1-1", ["surface"])


def test_after_a_lost_journal_the_goal_brings_everything_back_under_new_numbers(device: Any) -> None:
    first = device.order("d1")
    device.want(first)
    device.settle()
    last = max(event.sequence for event in device.delivered.values())
    (device.state / "journal.json").write_bytes(b"\x80")
    device.start()
    device.want(first)
    device.settle()

    assert (device.state_of(), device.current()) == ("SUCCEEDED", "d1-2")
    again = [event for event in device.delivered.values() if event.attempt == 2]
    assert [event.state for event in again] == ROAD
    assert all(event.sequence > last for event in again)
    assert len(list(device.state.glob("journal.unreadable-*.json"))) == 1


@pytest.mark.parametrize("state", ["DOWNLOADING", "OPTIMIZING", "PROBATION"])
def test_a_deployment_that_is_not_done_by_its_deadline_ends(device: Any, state: str) -> None:
    device.want(device.order("d1", deadline_s=100.0, probation_s=1000.0))
    device.answers = state != "DOWNLOADING"
    device.run_to(state)
    device.clock.pass_s(101.0)
    device.deployer.advance()
    device.settle()

    expected = "FAILED" if state == "PROBATION" else "TIMED_OUT"
    assert (device.state_of(), device.current()) == (expected, None)
    assert "100 s" in device.deployer.deployment("surface").reason.message


def test_the_deadline_counts_on_over_a_restart(device: Any) -> None:
    device.want(device.order("d1", deadline_s=100.0))
    device.answers = False
    device.run_to("DOWNLOADING")
    device.settle(until_s=70.0)
    device.crashed()
    device.start()
    device.settle(until_s=60.0)

    assert device.state_of() == "TIMED_OUT"


def test_the_device_s_own_limit_bounds_a_deadline(make_device: Any) -> None:
    device = make_device(limits=LimitsSection(min_free_bytes=0, max_deadline_s=10.0))
    device.answers = False
    device.want(device.order("d1", deadline_s=5000.0))
    device.settle(until_s=15.0)

    assert device.state_of() == "TIMED_OUT"


# --- the transfer ---


def test_a_lost_connection_pauses_a_transfer_and_it_goes_on_where_it_was(device: Any) -> None:
    device.want(device.order("d1", size=40 * 118784))
    device.run_to("DOWNLOADING")
    for _ in range(6):
        device.step()
    lost = sum(len(device.source.frames(request)) for request in device.requests)
    assert lost > 0
    device.link_down()
    assert (device.state_of(), device.reason_of()) == ("PAUSED", "link-down")
    device.link_up()
    device.settle()

    assert device.state_of() == "SUCCEEDED"
    assert sum(device.source.asked.values()) == len(device.source.asked) + lost


def test_models_download_one_after_the_other_and_each_comes_to_its_end(device: Any) -> None:
    device.want(device.order("d1"), second=device.order("d2", seed=2), third=device.order("d3", seed=3))
    assert [device.state_of(name) for name in ("surface", "second", "third")] == ["DOWNLOADING", "ACCEPTED", "ACCEPTED"]
    device.settle()

    assert [device.state_of(name) for name in ("surface", "second", "third")] == ["SUCCEEDED"] * 3


def test_one_model_s_end_lets_the_next_one_download_at_once(device: Any) -> None:
    device.answers = False
    device.want(device.order("d1"), second=device.order("d2", seed=2))
    device.run_to("DOWNLOADING")
    before = device.clock.monotonic_now_s
    device.want(second=device.order("d2", seed=2))

    assert (device.state_of("second"), device.clock.monotonic_now_s) == ("DOWNLOADING", before)


def test_what_is_in_the_store_already_needs_no_connection(device: Any) -> None:
    first = device.order("d1")
    device.want(first)
    device.settle()
    device.link_down()
    device.deployer.runtime = "onnxruntime 2.0"
    device.deployer.advance()
    device.settle()

    assert device.state_of() == "SUCCEEDED"
    assert device.current() == "d1-2"


def test_two_models_may_share_a_deployment_s_name_and_every_blob(device: Any) -> None:
    device.want(device.order("d1"), second=device.order("d1"))
    device.settle()

    assert (device.current(), device.current("second")) == ("d1-1", "d1-1")


# --- the same deployment once more ---


def test_a_new_runtime_builds_what_succeeded_again_once(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    asked = sum(device.source.asked.values())
    device.start(runtime="onnxruntime 2.0")
    device.settle()

    assert device.current() == "d1-2"
    assert device.deployer.deployment("surface").attempt == 2
    assert sum(device.source.asked.values()) == asked, "the blobs were kept for this"
    device.settle()
    assert device.current() == "d1-2"


def test_a_runtime_that_was_not_known_at_the_build_does_not_cause_another(device: Any) -> None:
    device.want(device.order("d1"))
    device.deployer.runtime = ""
    device.run_to("PROBATION")
    device.deployer.runtime = "onnxruntime 2.0"
    device.settle()
    device.settle()

    assert device.current() == "d1-1"


def test_a_new_runtime_that_cannot_build_it_is_tried_once_and_the_old_engine_stays(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.steps.failures["build"] = Unfit("operator-unsupported", "it cannot", "Send another")
    device.start(runtime="onnxruntime 2.0")
    device.settle(until_s=500.0)

    assert [call[0] for call in device.steps.calls].count("build") == 2
    assert (device.state_of(), device.current()) == ("FAILED", "d1-1")


def test_a_new_runtime_builds_what_runs_again_although_a_later_version_was_refused(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, budget=Budget(max_size_bytes=10)))
    device.settle()
    device.start(runtime="onnxruntime 2.0")
    device.settle()

    assert (device.deployer.deployment("surface").order.deployment, device.state_of(), device.current()) == ("d1", "SUCCEEDED", "d1-2")
    device.settle(until_s=500.0)
    assert device.current() == "d1-2"


def test_an_engine_that_is_not_active_any_more_is_built_again(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    shutil.rmtree(device.state / "models")
    device.start()
    device.settle()

    assert (device.state_of(), device.current()) == ("SUCCEEDED", "d1-2")


# --- trouble ---


def test_a_step_that_fails_in_one_model_does_not_keep_another_from_going_on(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewright.agent.actions import ACTIONS

    gate = ACTIONS["gate"]

    def broken(deployer: Any, name: str, action: Any) -> bool:
        if name == "surface":
            raise ValueError("nobody expected this")
        return gate(deployer, name, action)

    with monkeypatch.context() as patch:
        patch.setitem(ACTIONS, "gate", broken)
        device.want(device.order("d1"), second=device.order("d2", seed=2))
        device.settle(until_s=60.0)
        assert (device.state_of(), device.state_of("second")) == ("MEASURED", "SUCCEEDED")
        assert [reason.code for reason in device.deployer.problems.values()] == ["internal-error"]
    device.settle()

    assert (device.state_of(), device.deployer.problems) == ("SUCCEEDED", {})


@pytest.mark.parametrize("state", ["OFFERED", "DOWNLOADING", "MEASURED", "ACTIVATING", "SUCCEEDED"])
def test_a_full_disk_delays_what_cannot_be_written_down_and_nothing_is_lost(device: Any, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    save, is_full = JournalFile.save, False

    def maybe(file: JournalFile, journal: Any) -> None:
        last = journal.last_event
        if is_full and last is not None and last.state == state and last.sequence > device.deployer.journal.event_sequence:
            full_disk()
        save(file, journal)

    monkeypatch.setattr(JournalFile, "save", maybe)
    is_full = True
    device.want(device.order("d1"))
    device.settle(until_s=40.0)
    assert device.state_of() != state
    assert device.state_of() == device.on_disk()
    assert [reason.code for reason in device.deployer.problems.values()] == ["disk-full"]
    is_full = False
    device.settle()

    assert (device.told("d1"), device.current(), device.deployer.problems) == (ROAD, "d1-1", {})


def test_an_event_that_the_disk_refuses_is_spooled_later_and_its_change_stands(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.outbox.write_atomic", full_disk)
        device.want(device.order("d1"))
        device.run_to("DOWNLOADING")
        assert "outbox" in device.deployer.problems
    device.settle()

    assert device.told("d1")[-1] == "SUCCEEDED"
    assert "DOWNLOADING" in device.told("d1")
    assert device.deployer.problems == {}


def test_a_full_disk_does_not_keep_a_device_from_starting(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.want(device.order("d1"))
    device.settle()
    for module in ("journal", "outbox", "slots"):
        monkeypatch.setattr(f"edgewright.agent.{module}.write_atomic", full_disk)
    device.start()

    assert device.current() == "d1-1"


def test_a_full_disk_during_a_transfer_ends_it_and_gives_its_space_back(device: Any, monkeypatch: pytest.MonkeyPatch, fake_device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2))
    device.run_to("DOWNLOADING")
    monkeypatch.setattr("edgewright.agent.store._write_all", full_disk)
    device.settle()

    assert (device.state_of(), device.reason_of(), device.current()) == ("FAILED", "disk-full", "d1-1")
    assert fake_device.leftovers(device.state) == []


def test_a_device_without_enough_space_refuses_before_any_effect(make_device: Any) -> None:
    device = make_device(limits=LimitsSection(min_free_bytes=1 << 40))
    device.want(device.order("d1"))
    device.settle()

    assert (device.told("d1"), device.reason_of()) == (["OFFERED", "REJECTED"], "disk-full")
    assert device.source.asked == {}


def test_a_chunk_that_is_spoiled_on_its_way_is_asked_for_again(device: Any) -> None:
    spoiled: list[int] = []

    def spoil(_digest: str, index: int, data: bytes) -> bytes:
        if index == 1 and not spoiled:
            spoiled.append(index)
            return bytes(len(data))
        return data

    device.source.spoil = spoil
    device.want(device.order("d1"))
    device.settle()

    assert (spoiled, device.state_of()) == ([1], "SUCCEEDED")


def test_a_source_that_is_spoiled_for_good_is_refused_and_leaves_nothing(device: Any, fake_device: Any) -> None:
    device.source.spoil = lambda _digest, index, data: bytes(len(data)) if index == 2 else data
    device.want(device.order("d1"))
    device.settle()

    assert (device.state_of(), device.reason_of()) == ("REJECTED", "chunk-corrupt")
    assert fake_device.leftovers(device.state) == []
    assert list((device.state / "blobs").iterdir()) == []


def test_a_blob_that_the_controller_does_not_have_is_refused(device: Any) -> None:
    order = device.order("d1")
    del device.source.blobs[order.model.files["model.onnx"].digest]
    device.want(order)
    device.settle(until_s=120.0)

    assert (device.state_of(), device.reason_of()) == ("REJECTED", "blob-unknown")


def test_elapsed_times_are_saved_now_and_then(device: Any) -> None:
    device.answers = False
    device.want(device.order("d1"))
    device.settle(until_s=100.0)

    assert JournalFile(device.state).load().models["surface"].deployment.elapsed_s >= 60.0


def test_a_device_at_rest_has_nothing_to_wait_for(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()

    assert device.deployer.next_turn_s() is None


def test_a_transfer_that_ends_while_the_connection_is_down_is_complete(device: Any) -> None:
    device.want(device.order("d1", size=1000))
    while not any(name.startswith("finish") for name in device.lanes.names()) or len(list((device.state / "blobs").iterdir())) < 1:
        device.step()
    device.link_down()
    assert device.state_of() == "PAUSED"
    device.settle()

    assert device.state_of() == "SUCCEEDED"


def test_a_build_that_chose_nothing_is_refused(device: Any) -> None:
    device.steps.build = lambda *_: BuildOutcome(Measurement(chosen=None, baseline=None, verdict=None), None, "", ())
    device.want(device.order("d1"))
    device.settle()

    assert (device.state_of(), device.reason_of()) == ("REJECTED", "nothing-built")


@pytest.mark.parametrize("why", ["cancelled", "superseded", "late"])
def test_an_engine_that_was_confirmed_before_a_crash_goes_out_when_its_deployment_must_end(device: Any, why: str) -> None:
    """The crash came between the slots' confirmation and the journal's: the engine is active, and its deployment is not."""
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2, probation_s=30.0, deadline_s=1000.0))
    device.run_to("PROBATION")
    assert device.deployer.slots("surface").confirm("d2-1")
    device.crashed()
    device.start()
    if why == "cancelled":
        requests.cancel(device.deployer, "d2", "the owner")
    elif why == "superseded":
        device.want(device.order("d3", seed=3, budget=Budget(max_size_bytes=1)))
    else:
        device.clock.pass_s(2000.0)
        device.deployer.advance()
    device.settle()

    assert (device.told("d2")[-1], device.current()) == ("FAILED", "d1-1")


def test_a_disk_that_fails_is_a_problem_of_its_model_and_is_tried_again(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "save", broken)
        device.deployer.journal.models["surface"] = ModelRecord(wanted=device.order("d1"))
        device.deployer.advance()
        assert [reason.code for reason in device.deployer.problems.values()] == ["disk-failed"]
    device.settle()

    assert (device.state_of(), device.deployer.problems) == ("SUCCEEDED", {})


def test_elapsed_times_that_cannot_be_saved_hold_nothing_up(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.want(device.order("d1", deadline_s=100.0))
    device.answers = False
    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "save", full_disk)
        device.settle(until_s=70.0)
        assert device.state_of() == "DOWNLOADING"
    device.settle(until_s=60.0)

    assert device.state_of() == "TIMED_OUT"


def test_slots_that_cannot_be_read_keep_no_device_from_starting(device: Any) -> None:
    device.want(device.order("d1"), other=device.order("d2", seed=2))
    device.settle()
    file = device.state / "models" / "other" / "slots.json"
    kept = file.read_bytes()
    file.unlink()
    file.mkdir()
    device.start()
    device.settle()
    assert (device.current(), [reason.code for reason in device.deployer.problems.values()]) == ("d1-1", ["slots-unreadable"])
    file.rmdir()
    file.write_bytes(kept)
    device.settle()

    assert device.deployer.problems == {}


def test_a_goal_that_goes_back_to_the_engine_before_takes_it_from_the_previous_slot(device):
    first, second = device.order("d1"), device.order("d2", seed=2)
    for order in (first, second):
        device.want(order)
        device.settle()
    before = len(device.steps.calls)
    device.want(first)
    device.settle()

    assert device.current() == "d1-1"
    assert device.state_of() == "SUCCEEDED"
    assert not [call for call in device.steps.calls[before:] if call[0] == "build"]


def test_going_back_under_another_runtime_builds_anew(device):
    first, second = device.order("d1"), device.order("d2", seed=2)
    device.want(first)
    device.settle()
    device.deployer.runtime = "another 2.0"
    device.want(second)
    device.settle()
    before = len(device.steps.calls)
    device.want(first)
    device.settle()

    assert ("build", "surface", "d1") in device.steps.calls[before:]
    assert device.state_of() == "SUCCEEDED"


def test_an_order_that_failed_is_tried_again_when_it_is_retried_and_only_then(device):
    order = device.order("d1")
    device.steps.failures["build"] = Unfit("no-memory", "too little memory", "Free some")
    device.want(order)
    device.settle()
    device.steps.failures.clear()
    device.want(order)
    device.settle()
    assert device.state_of() == "FAILED"
    device.want(msgspec.structs.replace(order, retry=1))
    device.settle()

    assert device.state_of() == "SUCCEEDED"
    assert device.deployer.deployment("surface").attempt == 2


def test_a_staged_engine_waits_for_its_window(device):
    opens_min = int(device.clock.clock_s() // 60 + 30) % 1440  # half an hour from now
    window = Activation(kind="window", from_min=opens_min, to_min=(opens_min + 60) % 1440)
    device.want(device.order("d1", activation=window))
    device.settle(until_s=20 * 60)
    before = device.state_of(), device.current()
    device.settle(until_s=20 * 60)

    assert before == ("STAGED", None)
    assert (device.state_of(), device.current()) == ("SUCCEEDED", "d1-1")


def test_a_staged_engine_that_waits_can_be_cancelled(device):
    device.want(device.order("d1", activation=Activation(kind="window", from_min=0, to_min=1, days=(0,))))
    device.run_to("STAGED")
    requests.cancel(device.deployer, "d1", "a test")
    device.settle()

    assert device.state_of() == "CANCELED"
    assert device.current() is None


def test_a_cancel_while_a_chunk_list_is_finished_leaves_no_blob(device: Any) -> None:
    device.want(device.order("d1", size=200_000))
    while not any(name.startswith("finish") for name in device.lanes.names()):
        assert device.step()
    requests.cancel(device.deployer, "d1", "the owner")
    device.settle()

    assert (device.state_of(), list((device.state / "blobs").iterdir())) == ("CANCELED", [])


# --- a metered link ---

HELD = Reason("link-window", "models are fetched at night", "Wait", "unfit")


def test_a_deployment_waits_for_its_link_says_why_and_goes_on(device: Any) -> None:
    device.hold = HELD
    device.want(device.order("d1"))
    device.settle(until_s=3600)
    assert (device.state_of(), device.reason_of()) == ("PAUSED", "link-window")
    assert device.source.asked == {}

    device.hold = None
    device.settle()
    assert device.state_of() == "SUCCEEDED"


def test_a_link_that_closes_in_the_middle_stops_the_transfer(device: Any) -> None:
    device.want(device.order("d1", size=60 * CHUNK_BYTES))
    device.run_to("DOWNLOADING")
    device.step()
    device.step()
    device.hold = HELD
    device.settle(until_s=60)
    asked = sum(device.source.asked.values())
    device.settle(until_s=3600)

    assert (device.state_of(), sum(device.source.asked.values())) == ("PAUSED", asked)
    device.hold = None
    device.settle()
    assert device.state_of() == "SUCCEEDED"


def test_an_urgent_deployment_does_not_wait_for_the_link(device: Any) -> None:
    device.hold = HELD
    device.want(device.order("d1", is_urgent=True))
    device.settle()

    assert device.state_of() == "SUCCEEDED"


def test_a_shorter_way_that_was_gone_leaves_nothing_on_the_disk(device: Any) -> None:
    first, second = device.order("d1"), device.order("d2", seed=2)
    (old, new) = (order.model.files["model.onnx"].digest for order in (first, second))
    delta = Delta(old, device.source.add(b"a delta that leads nowhere"))
    device.want(first)
    device.settle()
    device.want(msgspec.structs.replace(second, shortcuts={new: Shortcut(deltas=(delta,))}))
    device.settle()

    assert device.state_of() == "SUCCEEDED"
    assert sum(count for (digest, _), count in device.source.asked.items() if digest == delta.blob.digest) == 1
    assert not (device.state / "blobs" / delta.blob.digest).exists()
