"""Signed messages on their way in: one at a time, bounded, the newest goal, and no refusal that this device's own fault makes final."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.agent.envelopes import MAX_COMMANDS, RETRY_S, Envelopes, Receiver
from edgewright.core.digest import digest_of_bytes
from edgewright.core.errors import EdgewrightError, Faulty, Reason, Rejected, Unfit
from edgewright.core.trust import Verified
from edgewright.core.wire.frames import MAX_PAYLOAD_BYTES
from edgewright.core.wire.messages import Command, Desired


def goal(number: int) -> bytes:
    return f"desired {number}".encode()


def order(number: int) -> bytes:
    return f"command {number}".encode()


class Owner:
    """Verifies, wants and obeys as the daemon does; every envelope is good unless `errors` says otherwise."""

    def __init__(self, fake_device: Any) -> None:
        self.clock = fake_device.FakeClock()
        self.lanes = fake_device.FakeLanes()
        self.errors: dict[bytes, EdgewrightError] = {}
        self.troubles: dict[str, EdgewrightError] = {}
        self.verified: list[str] = []
        self.done: list[str] = []
        self.known = ""
        self.problems: dict[str, Reason] = {}
        receiver = Receiver(self.verify, self.want, self.obey, lambda: self.known, self.problem)
        self.envelopes = Envelopes(receiver, self.lanes, self.clock.monotonic_s)

    def verify(self, _kind: str, payload: bytes) -> Any:
        def run(_cancel: Any) -> Verified:
            self.verified.append(payload.decode())
            if payload in self.errors:
                raise self.errors[payload]
            name, _, number = payload.decode().partition(" ")
            fields: dict[str, Any] = {"fleet": "f", "device": "d", "sequence": int(number), "issued_s": 1.0, "expires_s": 2.0}
            if name == "desired":
                return Verified(desired=Desired(**fields, models={}))
            return Verified(command=Command(**fields, id=number, verb="report"))

        return run

    def want(self, desired: Desired, digest: str) -> None:
        self._act(f"want {desired.sequence}")
        self.known = digest

    def obey(self, command: Command) -> None:
        self._act(f"obey {command.sequence}")

    def _act(self, what: str) -> None:
        if what in self.troubles:
            raise self.troubles[what]
        self.done.append(what)

    def problem(self, kind: str, reason: Reason | None) -> None:
        self.problems.pop(kind, None)
        if reason is not None:
            self.problems[kind] = reason

    def run(self) -> list[str]:
        while self.lanes.run_next():
            pass
        return self.done


@pytest.fixture
def owner(fake_device: Any) -> Owner:
    return Owner(fake_device)


def test_a_good_goal_is_wanted_and_a_good_command_obeyed(owner: Owner) -> None:
    owner.envelopes.arrived("desired", goal(1))
    owner.envelopes.arrived("command", order(2))

    assert owner.run() == ["want 1", "obey 2"]
    assert (owner.known, owner.problems, len(owner.envelopes)) == (digest_of_bytes(goal(1)), {}, 0)


def test_one_is_verified_at_a_time_and_of_waiting_goals_the_newest(owner: Owner) -> None:
    for number in range(1, 200):
        owner.envelopes.arrived("desired", goal(number))
        assert (len(owner.lanes.names()), len(owner.envelopes) <= 2) == (1, True)

    assert owner.run() == ["want 1", "want 199"]


def test_a_flood_of_commands_is_bounded_and_said(owner: Owner) -> None:
    for number in range(1, 100):
        owner.envelopes.arrived("command", order(number))
    assert len(owner.envelopes) == MAX_COMMANDS + 1
    assert owner.problems["command"].code == "too-many-commands"

    assert owner.run() == [f"obey {number}" for number in range(1, MAX_COMMANDS + 2)]


def test_the_goal_that_is_known_needs_no_verification_and_takes_a_refusal_back(owner: Owner) -> None:
    owner.envelopes.arrived("desired", goal(1))
    owner.run()
    owner.errors[goal(2)] = Rejected("signature-invalid", "bad", "")
    owner.envelopes.arrived("desired", goal(2))
    owner.run()
    assert owner.problems["desired"].code == "signature-invalid"
    owner.envelopes.arrived("desired", goal(1))
    owner.run()

    assert (owner.verified, owner.problems) == (["desired 1", "desired 2"], {})


def test_a_known_goal_that_comes_again_does_not_push_a_newer_one_out(owner: Owner) -> None:
    owner.envelopes.arrived("desired", goal(1))
    owner.run()
    owner.envelopes.arrived("command", order(5))
    owner.envelopes.arrived("desired", goal(2))
    owner.envelopes.arrived("desired", goal(1))

    assert owner.run() == ["want 1", "obey 5", "want 2"]


def test_what_is_delivered_twice_is_done_once(owner: Owner) -> None:
    for _ in range(3):
        owner.envelopes.arrived("desired", goal(1))
        owner.envelopes.arrived("command", order(2))
    owner.run()
    owner.envelopes.arrived("command", order(2))
    owner.run()

    assert (owner.done, owner.verified, owner.problems) == (["want 1", "obey 2"], ["desired 1", "command 2"], {})


@pytest.mark.parametrize("kind", ["desired", "command"])
def test_a_refusal_is_a_problem_until_a_good_one_comes(owner: Owner, kind: Any) -> None:
    make = goal if kind == "desired" else order
    owner.errors[make(1)] = Rejected("envelope-expired", "too old", "")
    owner.envelopes.arrived(kind, make(1))
    assert (owner.run(), owner.problems[kind].code) == ([], "envelope-expired")
    owner.envelopes.arrived(kind, make(2))
    owner.run()

    assert (len(owner.done), owner.problems) == (1, {})


@pytest.mark.parametrize("error", [Unfit("out-of-memory", "no memory", ""), Faulty("worker-crashed", "it crashed", "")])
def test_a_goal_that_this_device_could_not_verify_is_tried_again(owner: Owner, error: EdgewrightError) -> None:
    owner.errors[goal(1)] = error
    owner.envelopes.arrived("desired", goal(1))
    owner.run()
    assert (owner.done, owner.problems["desired"].code, owner.lanes.names()) == ([], error.code, [])
    due_s = owner.envelopes.next_turn_s()
    assert due_s == owner.clock.monotonic_s() + RETRY_S
    owner.envelopes.turn()
    assert owner.lanes.names() == [], "not before its time"
    owner.errors.clear()
    owner.clock.monotonic_now_s = due_s
    owner.envelopes.turn()

    assert (owner.run(), owner.problems, owner.envelopes.next_turn_s()) == (["want 1"], {}, None)


def test_a_goal_that_could_not_be_written_down_is_tried_again(owner: Owner) -> None:
    owner.troubles["want 1"] = Unfit("disk-full", "the disk is full", "")
    owner.envelopes.arrived("desired", goal(1))
    owner.run()
    assert owner.problems["desired"].code == "disk-full"
    owner.troubles.clear()
    owner.clock.pass_s(RETRY_S)
    owner.envelopes.turn()

    assert owner.run() == ["want 1"]


def test_a_newer_goal_goes_before_one_that_is_to_be_tried_again(owner: Owner) -> None:
    owner.errors[goal(1)] = Unfit("out-of-memory", "no memory", "")
    owner.envelopes.arrived("desired", goal(1))
    owner.run()
    owner.envelopes.arrived("desired", goal(2))

    assert (owner.run(), owner.envelopes.next_turn_s()) == (["want 2"], None)


def test_a_refused_goal_is_not_tried_again(owner: Owner) -> None:
    owner.errors[goal(1)] = Rejected("signature-invalid", "bad", "")
    owner.envelopes.arrived("desired", goal(1))
    owner.run()

    assert owner.envelopes.next_turn_s() is None


@pytest.mark.parametrize(("kind", "payload"), [("desired", order(1)), ("command", goal(1))])
def test_the_one_kind_on_the_other_s_topic_is_refused(owner: Owner, kind: Any, payload: bytes) -> None:
    owner.envelopes.arrived(kind, payload)

    assert (owner.run(), owner.problems[kind].code) == ([], "envelope-wrong-kind")


def test_what_is_too_long_is_refused_unread(owner: Owner) -> None:
    owner.envelopes.arrived("desired", bytes(MAX_PAYLOAD_BYTES + 1))

    assert (owner.lanes.names(), owner.problems["desired"].code) == ([], "message-too-large")


def test_a_fault_in_what_follows_does_not_stop_the_next_one(owner: Owner) -> None:
    owner.troubles["obey 1"] = ValueError("nobody expected this")
    owner.envelopes.arrived("command", order(1))
    owner.envelopes.arrived("command", order(2))
    with pytest.raises(ValueError, match="nobody"):
        owner.run()
    assert owner.envelopes.next_turn_s() == 0.0
    owner.envelopes.turn()

    assert owner.run() == ["obey 2"]
