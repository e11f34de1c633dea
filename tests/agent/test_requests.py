"""What an owner asks for, by the wire or by the socket: one write each, obeyed once, answered every time."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.agent import requests
from edgewright.agent.config import ModelSection
from edgewright.agent.journal import JournalFile
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.messages import Command, Desired


def desired(device: Any, sequence: int, **models: Any) -> Desired:
    return Desired(fleet="fleet", device="board-1", sequence=sequence, issued_s=100.0 + sequence, expires_s=1e9, models=models)


def command(verb: Any, sequence: int, identity: str = "c1", **fields: Any) -> Command:
    return Command(fleet="fleet", device="board-1", sequence=sequence, issued_s=50.0, expires_s=1e9, id=identity, verb=verb, **fields)


def two_versions(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    device.want(device.order("d2", seed=2))
    device.settle()


# --- the goal ---


def test_a_goal_is_remembered_with_its_sequence_digest_and_time(device: Any) -> None:
    requests.want(device.deployer, desired(device, 5, surface=device.order("d1")), "digest")
    journal = JournalFile(device.state).load()

    assert (journal.desired_sequence, journal.desired_digest, journal.signed_s) == (5, "digest", 105.0)
    assert journal.models["surface"].wanted.deployment == "d1"


def test_signed_time_never_runs_backwards(device: Any) -> None:
    requests.want(device.deployer, desired(device, 5), "a")
    requests.obey(device.deployer, command("report", 1))

    assert device.deployer.journal.signed_s == 105.0


@pytest.mark.parametrize("sequence", [4, 5])
def test_an_older_goal_that_was_verified_meanwhile_is_refused(device: Any, sequence: int) -> None:
    requests.want(device.deployer, desired(device, 5, surface=device.order("d2")), "new")
    with pytest.raises(Rejected) as caught:
        requests.want(device.deployer, desired(device, sequence, surface=device.order("d1")), "old")

    assert caught.value.code == "envelope-replayed"
    assert device.deployer.journal.models["surface"].wanted.deployment == "d2"
    assert device.deployer.journal.desired_digest == "new"


def test_a_goal_that_the_disk_refuses_changes_nothing(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free space")

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "save", full)
        with pytest.raises(Unfit):
            device.want(device.order("d1"))
    assert (device.deployer.journal.models, device.deployer.journal.desired_sequence) == ({}, 0)
    device.want(device.order("d1"))
    device.settle()

    assert device.state_of() == "SUCCEEDED"


# --- cancel ---


@pytest.mark.parametrize("state", ["DOWNLOADING", "OPTIMIZING", "GATED", "ACTIVATING", "PROBATION"])
def test_a_cancelled_deployment_always_comes_to_an_end(device: Any, state: str) -> None:
    device.want(device.order("d1"))
    device.settle()
    order = device.order("d2", seed=2, probation_s=100.0)
    device.want(order)
    device.answers = state != "DOWNLOADING"
    device.run_to(state)
    requests.cancel(device.deployer, "d2", "the owner")
    device.settle()

    is_undone = state in {"ACTIVATING", "PROBATION"}
    assert device.told("d2")[-1] == ("FAILED" if is_undone else "CANCELED")
    assert (device.reason_of(), device.current()) == ("rolled-back" if is_undone else "cancelled", "d1-1")
    assert "cancelled by the owner" in device.deployer.deployment("surface").reason.message
    device.want(order)
    device.settle()
    assert device.told("d2").count("OFFERED") == 1, "it is not started again by the same goal"


@pytest.mark.parametrize("name", ["d1", "d9", ""])
def test_what_is_not_under_way_cannot_be_cancelled(device: Any, name: str) -> None:
    device.want(device.order("d1"))
    device.settle()
    with pytest.raises(Rejected) as caught:
        requests.cancel(device.deployer, name, "the owner")

    assert caught.value.code == "deployment-unknown"
    assert device.state_of() == "SUCCEEDED"


def test_a_cancel_does_not_wait_for_a_model_that_was_put_off(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.want(device.order("d1"))
    device.run_to("OPTIMIZING")
    device.deployer.put_off("surface", Unfit("disk-full", "the disk is full", "").reason)
    requests.cancel(device.deployer, "d1", "the owner")
    device.settle(until_s=0.5)

    assert device.state_of() == "CANCELED"


# --- roll-back and release ---


def test_an_owner_s_roll_back_makes_the_previous_engine_active_and_tells_the_application(make_device: Any) -> None:
    device = make_device(models={"surface": ModelSection(activate=("tell",))})
    two_versions(device)
    device.steps.calls.clear()
    requests.roll_back(device.deployer, "surface")
    assert device.current() == "d1-1", "at once, not when somebody has time"
    device.settle()

    assert device.steps.calls == [("activate", "surface", "d1-1")]
    record = device.deployer.journal.models["surface"]
    assert (record.held, record.leaving) == (True, "")


def test_a_held_model_keeps_its_engine_whatever_the_goal_until_it_is_released(device: Any) -> None:
    two_versions(device)
    requests.roll_back(device.deployer, "surface")
    device.settle()
    device.want(device.order("d3", seed=3))
    device.settle()
    assert device.current() == "d1-1"
    requests.release(device.deployer, "surface")
    device.settle()

    assert (device.current(), device.state_of()) == ("d3-1", "SUCCEEDED")


def test_a_release_without_another_goal_builds_what_was_rolled_back_again(device: Any) -> None:
    two_versions(device)
    requests.roll_back(device.deployer, "surface")
    device.settle()
    requests.release(device.deployer, "surface")
    device.settle()

    assert (device.current(), device.deployer.deployment("surface").attempt) == ("d2-2", 2)


def test_rolling_back_twice_goes_forth_again(device: Any) -> None:
    two_versions(device)
    for expected in ("d1-1", "d2-1"):
        requests.roll_back(device.deployer, "surface")
        device.settle()

        assert device.current() == expected


def test_an_application_that_cannot_be_told_is_a_problem_and_the_roll_back_stands(device: Any) -> None:
    two_versions(device)
    device.steps.failures["activate"] = Unfit("activate-failed", "it did not restart", "Look at it")
    requests.roll_back(device.deployer, "surface")
    device.settle()
    assert device.current() == "d1-1"
    assert [reason.code for reason in device.deployer.problems.values()] == ["activate-failed"]
    device.steps.failures.clear()
    requests.roll_back(device.deployer, "surface")
    device.settle()

    assert device.deployer.problems == {}


def test_a_roll_back_is_refused_where_there_is_nothing_to_go_back_to(device: Any) -> None:
    device.want(device.order("d1"))
    device.settle()
    with pytest.raises(Unfit) as caught:
        requests.roll_back(device.deployer, "surface")

    assert (caught.value.code, device.deployer.journal.models["surface"].held) == ("no-previous", False)


def test_a_roll_back_is_refused_during_a_deployment(device: Any) -> None:
    two_versions(device)
    device.want(device.order("d3", seed=3))
    with pytest.raises(Rejected) as caught:
        requests.roll_back(device.deployer, "surface")

    assert (caught.value.code, caught.value.next_step) == ("model-busy", "edgewright agent cancel d3")


def test_a_previous_engine_that_vanished_is_a_problem_and_nothing_is_held(device: Any) -> None:
    import shutil

    two_versions(device)
    shutil.rmtree(device.state / "models/surface/engines/d1-1")
    requests.roll_back(device.deployer, "surface")
    device.settle()

    record = device.deployer.journal.models["surface"]
    assert (device.current(), record.held, record.leaving) == ("d2-1", False, "")
    assert [reason.code for reason in device.deployer.problems.values()] == ["no-previous"]


@pytest.mark.parametrize("call", [requests.roll_back, requests.release])
def test_a_model_that_nobody_knows_is_refused_with_the_nearest(device: Any, call: Any) -> None:
    with pytest.raises(Rejected, match="no model"):
        call(device.deployer, "surfaec")
    device.want(device.order("d1"))
    with pytest.raises(Rejected) as caught:
        call(device.deployer, "surfaec")

    assert (caught.value.code, caught.value.next_step) == ("model-unknown", "Did you mean 'surface'?")


# --- commands ---


def test_a_command_is_obeyed_once_and_answered_every_time_it_is_sent(device: Any) -> None:
    two_versions(device)
    assert requests.obey(device.deployer, command("rollback", 1, model="surface")) is None
    device.settle()
    assert requests.obey(device.deployer, command("rollback", 2, model="surface")) is None
    device.settle()

    assert device.current() == "d1-1"


def test_a_refused_command_is_answered_the_same_when_it_is_sent_again(device: Any) -> None:
    first = requests.obey(device.deployer, command("cancel", 1, deployment="d1"))
    device.want(device.order("d1"))
    device.run_to("OPTIMIZING")
    second = requests.obey(device.deployer, command("cancel", 2, deployment="d1"))

    assert first is not None
    assert (first.code, second) == ("deployment-unknown", first)
    assert device.state_of() == "OPTIMIZING"


def test_a_replayed_command_is_refused(device: Any) -> None:
    requests.obey(device.deployer, command("report", 5))
    for sequence in (4, 5):
        with pytest.raises(Rejected) as caught:
            requests.obey(device.deployer, command("report", sequence, "c2"))

        assert caught.value.code == "envelope-replayed"


def test_commands_and_goals_have_sequences_of_their_own(device: Any) -> None:
    requests.obey(device.deployer, command("report", 9))
    requests.want(device.deployer, desired(device, 2, surface=device.order("d1")), "digest")

    assert (device.deployer.journal.command_sequence, device.deployer.journal.desired_sequence) == (9, 2)


@pytest.mark.parametrize("verb", ["cancel", "rollback", "release", "report"])
def test_every_verb_of_the_wire_is_obeyed(device: Any, verb: str) -> None:
    two_versions(device)
    device.want(device.order("d2", seed=2), other=device.order("d3", seed=3))
    assert requests.obey(device.deployer, command(verb, 1, model="surface", deployment="d3")) is None
    device.settle()

    assert (device.state_of("other") == "CANCELED") == (verb == "cancel")
    assert (device.current() == "d1-1") == (verb == "rollback")


def test_only_the_last_answers_are_kept(device: Any) -> None:
    for number in range(1, 41):
        requests.obey(device.deployer, command("report", number, f"c{number}"))

    assert [answer.command for answer in device.deployer.journal.answers] == [f"c{number}" for number in range(25, 41)]


def test_a_command_that_the_disk_refuses_can_be_sent_again(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unfit("disk-full", "the disk is full", "Free space")

    two_versions(device)
    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "save", full)
        with pytest.raises(Unfit):
            requests.obey(device.deployer, command("rollback", 1, model="surface"))
    assert device.current() == "d2-1"

    assert requests.obey(device.deployer, command("rollback", 1, model="surface")) is None
    assert device.current() == "d1-1"
