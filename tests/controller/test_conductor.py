"""Rollouts against the real database: devices are what the recorder is told. The clock is the test's."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from edgewright.controller import conductor as module
from edgewright.controller.audit import AuditLog
from edgewright.controller.conductor import Conductor
from edgewright.controller.inventory import Inventory, Selector
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts
from edgewright.controller.tables import Device, Goal
from edgewright.core.budget import Budget, Verdict
from edgewright.core.errors import Reason, Rejected
from edgewright.core.measurement import Candidate, Latency
from edgewright.core.wire.messages import Capabilities, Event, Measurement

NOW_S = 1_800_000_000.0
ALL, UNLIMITED = Selector(), Budget()
REASON = Reason("build-failed", "it does not build", "Try another", "unfit")


class Fleet:
    """Twenty boards, of which each does what it is told to."""

    def __init__(self, database, orders, recorder, order, count: int = 20) -> None:
        self.database, self.orders, self.recorder, self.make_order = database, orders, recorder, order
        self.rollouts, self.conductor = Rollouts(database, orders), Conductor(database, orders)
        self.now_s = NOW_S
        self.numbers = itertools.count(1)
        self.names = [f"board-{number:02}" for number in range(count)]
        for name in ("board-1", "board-2"):
            with database.transaction() as session:
                session.delete(session.get(Device, name))
        self.add(*self.names)

    def add(self, *names: str, hardware_class: str = "orin") -> None:
        for name in names:
            self.orders.enroll(name, self.now_s)
            fields = {"board": hardware_class, "machine": "aarch64", "agent_version": "1", "memory_mb": 1, "cores": 1}
            self.recorder.record(Capabilities(fleet="fleet", device=name, hardware_class=hardware_class, **fields), self.now_s)

    def start(self, deployment: str = "d-1", selector: Selector = ALL, budget: Budget = UNLIMITED, **plan) -> str:
        plan = {"canary": 2, "growth": 3.0, "device_timeout_s": 1000.0, "max_failed_share": 0.0, "on_unproven": "promote"} | plan
        return self.rollouts.start("m", self.make_order(deployment, deployment, budget=budget), selector, RolloutPlan(**plan), "user:x", self.now_s)

    def settle(self) -> None:
        """Turns, until nothing more is to be done at this time."""
        for _ in range(1000):
            if not self.conductor.turn(self.now_s):
                return
        raise AssertionError("it never comes to rest")

    def on(self, deployment: str) -> list[str]:
        """The devices whose goal is `deployment`."""
        with self.database.reading() as session:
            return sorted(row.device for row in session.query(Goal).filter_by(deployment=deployment))

    def say(self, name: str, state: str, deployment: str = "d-1", attempt: int = 1, **fields) -> None:
        number = next(self.numbers)
        event = {"fleet": "fleet", "model": "m", "time_s": self.now_s, "id": f"{name}-{number}", "sequence": number, "attempt": attempt}
        self.recorder.record(Event(device=name, deployment=deployment, state=state, **event, **fields), self.now_s)

    def succeed(self, *names: str, deployment: str = "d-1", attempt: int = 1, p99_ms: float | None = None) -> None:
        for name in names:
            if p99_ms is not None:
                latency = Latency(mean=p99_ms, p50=p99_ms, p90=p99_ms, p99=p99_ms, samples=200)
                chosen = Candidate(name="int8", backend="b", path="", size_bytes=1, latency_ms=latency, energy_mj=None, fidelity=None)
                measurement = Measurement(chosen=chosen, baseline=None, verdict=Verdict(accepted=True))
                self.say(name, "MEASURED", deployment, attempt, measurement=measurement)
            self.say(name, "SUCCEEDED", deployment, attempt)

    def finish(self, deployment: str = "d-1", **fields) -> None:
        """Everybody succeeds, wave by wave, until the end."""
        done: set[str] = set()
        for _ in range(50):
            self.settle()
            waiting = sorted(set(self.on(deployment)) - done)
            self.succeed(*waiting, deployment=deployment, **fields)
            done.update(waiting)
        assert self.view(deployment).state == "SUCCEEDED"

    def view(self, identity: str = "latest"):
        return self.rollouts.view(identity, self.now_s)


@pytest.fixture
def fleet(database, orders, recorder, order):
    return Fleet(database, orders, recorder, order)


def test_canaries_get_the_goal_first_and_everybody_else_waits(fleet):
    fleet.start()
    fleet.settle()

    assert len(fleet.on("d-1")) == 2
    assert [wave.size for wave in fleet.view().waves] == [2, 6, 12]


def test_waves_follow_each_other_until_all_have_it(fleet):
    fleet.start()
    sizes = []
    for _ in range(3):
        fleet.settle()
        sizes.append(len(fleet.on("d-1")))
        fleet.succeed(*fleet.on("d-1"))
    fleet.settle()

    assert sizes == [2, 8, 20]
    assert fleet.view().state == "SUCCEEDED"
    assert fleet.view().is_over


def test_a_failed_canary_stops_the_rollout_and_says_why(fleet):
    fleet.start()
    fleet.settle()
    fleet.say(fleet.on("d-1")[0], "FAILED", reason=REASON)
    fleet.settle()

    assert fleet.view().state == "PAUSED"
    assert fleet.view().reason.code == "rollout-failures"
    assert len(fleet.on("d-1")) == 2


def test_a_silent_device_counts_as_failed_when_its_time_is_over(fleet):
    fleet.start()
    fleet.settle()
    fleet.succeed(fleet.on("d-1")[0])
    fleet.now_s += 999
    fleet.settle()
    before = fleet.view()
    fleet.now_s += 1
    fleet.settle()

    assert (before.state, fleet.view().state) == ("RUNNING", "PAUSED")
    assert fleet.view().waves[0].silent == 1
    assert "1 of them silent" in fleet.view().reason.message


def test_a_device_that_is_stuck_in_a_state_counts_as_silent(fleet):
    fleet.start()
    fleet.settle()
    fleet.say(fleet.on("d-1")[0], "OPTIMIZING")
    fleet.succeed(fleet.on("d-1")[1])
    fleet.now_s += 1000
    fleet.settle()

    assert (fleet.view().state, fleet.view().waves[0].silent) == ("PAUSED", 1)


def test_a_rollout_goes_on_after_a_person_has_accepted_the_failures(fleet):
    identity = fleet.start()
    fleet.settle()
    first, second = fleet.on("d-1")
    fleet.say(first, "FAILED", reason=REASON)
    fleet.succeed(second)
    fleet.settle()
    fleet.rollouts.resume(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert fleet.view().state == "RUNNING"
    assert len(fleet.on("d-1")) == 8


def test_a_paused_rollout_releases_nobody_and_goes_on_when_it_is_resumed(fleet):
    identity = fleet.start()
    fleet.settle()
    fleet.rollouts.pause(identity, "user:x", fleet.now_s)
    fleet.succeed(*fleet.on("d-1"))
    fleet.settle()
    assert len(fleet.on("d-1")) == 2
    fleet.rollouts.resume(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert len(fleet.on("d-1")) == 8


def test_approval_is_asked_for_and_obeyed(fleet):
    identity = fleet.start(approval="start")
    fleet.settle()
    assert (fleet.view().state, fleet.on("d-1")) == ("WAITING", [])
    fleet.rollouts.approve(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert (fleet.view().state, len(fleet.on("d-1"))) == ("RUNNING", 2)


def test_cancel_ends_at_once_gives_the_others_their_goal_back_and_keeps_what_succeeded(fleet):
    fleet.start("d-0")
    fleet.finish("d-0")
    identity = fleet.start("d-1")
    fleet.settle()
    done, at_it = fleet.on("d-1")
    fleet.succeed(done)
    fleet.rollouts.cancel(identity, "user:x", fleet.now_s)
    assert fleet.view(identity).state == "CANCELED"
    fleet.settle()

    assert fleet.on("d-1") == [done]
    assert at_it in fleet.on("d-0")
    assert fleet.view(identity).is_over


def test_cancel_before_the_first_turn_touches_nobody(fleet):
    identity = fleet.start()
    fleet.rollouts.cancel(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert fleet.on("d-1") == []
    assert fleet.view(identity).is_over


@pytest.mark.parametrize("state", ["WAITING", "PAUSED", "ROLLING_BACK"])
def test_cancel_ends_a_rollout_in_every_state(fleet, state):
    identity = fleet.start(approval="start" if state == "WAITING" else "none")
    fleet.settle()
    if state == "PAUSED":
        fleet.rollouts.pause(identity, "user:x", fleet.now_s)
    if state == "ROLLING_BACK":
        fleet.rollouts.roll_back(identity, "user:x", fleet.now_s)
    fleet.rollouts.cancel(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert fleet.view(identity).state == "CANCELED"
    assert fleet.view(identity).is_over


def test_a_roll_back_gives_everybody_the_goal_that_it_had_before(fleet):
    fleet.start("d-0", Selector(devices=tuple(fleet.names[:15])), late_joiners=False)
    fleet.finish("d-0")
    identity = fleet.start("d-1")
    fleet.finish("d-1")
    fleet.rollouts.roll_back(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert fleet.view(identity).state == "ROLLED_BACK"
    assert fleet.on("d-1") == []
    assert fleet.on("d-0") == fleet.names[:15]


def test_failures_roll_the_whole_fleet_back_by_themselves(fleet):
    fleet.start("d-0")
    fleet.finish("d-0")
    identity = fleet.start("d-1", on_failure="roll-back")
    fleet.settle()
    fleet.succeed(*fleet.on("d-1"))
    fleet.settle()
    assert len(fleet.on("d-1")) == 8
    fleet.say(
        next(name for name in fleet.on("d-1") if fleet.rollouts.members(identity, states=("SUCCEEDED",))[0].device != name), "FAILED", reason=REASON
    )
    fleet.settle()

    assert fleet.view(identity).state == "ROLLED_BACK"
    assert fleet.on("d-0") == fleet.names


def test_a_roll_back_leaves_devices_alone_that_have_another_goal_by_now(fleet):
    identity = fleet.start("d-1")
    fleet.finish("d-1")
    fleet.orders.deploy("m", fleet.make_order("d-9", "9"), ["board-03"], fleet.now_s)
    fleet.rollouts.roll_back(identity, "user:x", fleet.now_s)
    fleet.settle()

    assert fleet.on("d-9") == ["board-03"]
    assert fleet.on("d-1") == []


def test_retry_tries_the_failed_and_the_silent_again_and_nobody_else(fleet):
    identity = fleet.start(canary=5, max_failed_share=1.0, min_succeeded_share=0.0)
    fleet.settle()
    failed, refused, silent, *well = fleet.on("d-1")
    fleet.say(failed, "FAILED", reason=REASON)
    fleet.say(refused, "REJECTED", reason=REASON)
    fleet.rollouts.pause(identity, "user:x", fleet.now_s)
    fleet.succeed(*well)
    fleet.now_s += 1000

    assert fleet.rollouts.retry(identity, "user:x", fleet.now_s) == 2
    with fleet.database.reading() as session:
        retries = {row.device: row.retry for row in session.query(Goal).filter_by(deployment="d-1")}
    assert {name for name, retry in retries.items() if retry} == {failed, silent}
    assert fleet.view().waves[0].failed == 1  # the refusal


def test_what_a_device_says_of_the_attempt_before_does_not_spoil_the_retry(fleet):
    identity = fleet.start(canary=1)
    fleet.settle()
    (name,) = fleet.on("d-1")
    fleet.say(name, "FAILED", attempt=1, reason=REASON)
    fleet.settle()
    fleet.rollouts.retry(identity, "user:x", fleet.now_s)
    fleet.say(name, "FAILED", attempt=1, reason=REASON)
    fleet.settle()
    assert fleet.view().state == "RUNNING"
    fleet.succeed(name, attempt=2)
    fleet.settle()

    assert fleet.view().waves[0].succeeded == 1


def test_with_nothing_to_retry_it_says_so(fleet):
    identity = fleet.start()
    fleet.settle()
    with pytest.raises(Rejected) as caught:
        fleet.rollouts.retry(identity, "user:x", fleet.now_s)

    assert caught.value.code == "nothing-to-retry"


def test_a_late_joiner_gets_the_goal_while_the_rollout_runs(fleet):
    fleet.start()
    fleet.settle()
    fleet.add("late")
    fleet.now_s += module.JOIN_EVERY_S
    fleet.finish()

    assert "late" in fleet.on("d-1")


def test_a_late_joiner_gets_the_goal_after_the_rollout_has_succeeded(fleet):
    fleet.start()
    fleet.finish()
    fleet.add("late")
    fleet.now_s += module.JOIN_EVERY_S
    fleet.settle()
    fleet.conductor.turn(fleet.now_s)
    fleet.settle()
    assert "late" in fleet.on("d-1")
    fleet.succeed("late")
    fleet.settle()

    assert fleet.view().state == "SUCCEEDED"


def test_a_joiner_does_not_get_what_a_later_rollout_has_replaced(fleet):
    fleet.start("d-0")
    fleet.finish("d-0")
    fleet.now_s += 1
    identity = fleet.start("d-1")
    fleet.rollouts.cancel(identity, "user:x", fleet.now_s)
    fleet.settle()
    fleet.add("late")
    fleet.now_s += module.JOIN_EVERY_S
    for _ in range(3):
        fleet.conductor.turn(fleet.now_s)

    assert "late" not in [*fleet.on("d-0"), *fleet.on("d-1")]


def test_a_rollout_goes_to_labels_and_hardware_classes(fleet):
    inventory = Inventory(fleet.database)
    fleet.add("nano-1", "nano-2", hardware_class="nano")
    inventory.set_labels("nano-2", {"site": "hall-3"}, "user:x", fleet.now_s)
    fleet.start("d-1", Selector(labels={"site": "hall-3"}, hardware_class="nano"))
    fleet.finish("d-1")

    assert fleet.on("d-1") == ["nano-2"]


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        (Selector(labels={"site": "nowhere"}), "no-device-selected"),
        (Selector(hardware_class="orim"), "no-device-selected"),
        (Selector(devices=("board-99",)), "device-unknown"),
        (Selector(labels={"SITE": "x"}), "label-malformed"),
        (Selector(labels={"site": "x\n"}), "label-malformed"),
    ],
)
def test_a_rollout_to_nobody_is_refused_and_leaves_nothing_behind(fleet, selector, code):
    with pytest.raises(Rejected) as caught:
        fleet.start("d-1", selector)

    assert caught.value.code == code
    assert fleet.rollouts.all(fleet.now_s) == []
    fleet.start("d-1")


def test_two_rollouts_of_one_model_at_a_time_are_refused(fleet):
    fleet.start("d-1")
    with pytest.raises(Rejected) as caught:
        fleet.start("d-2")

    assert caught.value.code == "rollout-under-way"


def test_a_retired_device_is_left_out_of_what_is_released_later(fleet):
    fleet.start()
    fleet.settle()
    gone = next(name for name in fleet.names if name not in fleet.on("d-1"))
    with fleet.database.transaction() as session:
        session.get(Device, gone).retired_s = fleet.now_s
    fleet.finish()

    assert len(fleet.on("d-1")) == 19


# --- what was measured ---


def test_a_slower_model_is_stopped_although_every_device_has_installed_it(fleet):
    fleet.start("d-0", canary=8)
    fleet.finish("d-0", p99_ms=10.0)
    fleet.start("d-1", canary=8, on_unproven="pause")
    fleet.settle()
    fleet.succeed(*fleet.on("d-1"), deployment="d-1", p99_ms=20.0)
    fleet.settle()

    assert fleet.view("d-1").state == "PAUSED"
    assert fleet.view("d-1").reason.code == "rollout-worse"
    assert "median 20, 10 before" in fleet.view("d-1").reason.message
    (figure,) = fleet.view("d-1").waves[0].judgement.figures
    assert (figure.measured, figure.good, figure.devices) == (8, 0, 20)


def test_a_model_as_fast_as_the_one_before_is_promoted_on_its_measurements(fleet):
    fleet.start("d-0", canary=8)
    fleet.finish("d-0", p99_ms=10.0)
    fleet.start("d-1", canary=8, on_unproven="pause")
    fleet.finish("d-1", p99_ms=10.5)

    assert fleet.view("d-1").waves[0].judgement.verdict == "proven"


def test_too_few_measurements_ask_a_person(fleet):
    fleet.start("d-1", canary=3, on_unproven="pause", budget=Budget(max_latency_p99_ms=10))
    fleet.settle()
    fleet.succeed(*fleet.on("d-1"), p99_ms=9.0)
    fleet.settle()

    assert fleet.view().reason.code == "rollout-unproven"
    assert "7 good devices" in fleet.view().reason.message


# --- crashes ---


def test_a_controller_that_dies_at_any_turn_and_another_that_goes_on_do_nothing_twice(fleet, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    fleet.start("d-1")
    for _ in range(200):
        fleet.conductor = Conductor(fleet.database, fleet.orders)  # a new process each time
        fleet.conductor.turn(fleet.now_s)
        Conductor(fleet.database, fleet.orders).turn(fleet.now_s)  # and one beside it
        done = {member.device for member in fleet.rollouts.members("d-1", states=("SUCCEEDED",))}
        for name in set(fleet.on("d-1")) - done:
            fleet.succeed(name)

    assert fleet.view().state == "SUCCEEDED"
    assert fleet.on("d-1") == fleet.names
    actions = Counter(entry.action for entry in AuditLog(fleet.database).entries(fleet.view().rollout))
    assert actions == {"rollout.start": 1, "rollout.wave": 2, "rollout.finish": 1}


def test_every_order_of_a_person_stands_in_the_audit_log(fleet):
    identity = fleet.start()
    fleet.rollouts.pause(identity, "user:ann", fleet.now_s)
    fleet.rollouts.resume(identity, "token:ci", fleet.now_s)
    fleet.rollouts.cancel(identity, "user:ann", fleet.now_s)
    found = [(entry.actor, entry.action) for entry in AuditLog(fleet.database).entries(identity)]

    assert found == [("user:ann", "rollout.cancel"), ("token:ci", "rollout.resume"), ("user:ann", "rollout.pause"), ("user:x", "rollout.start")]
