from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from edgewright.agent.journal import NUMBERS_PER_START
from edgewright.controller.audit import AuditLog
from edgewright.controller.database import Database
from edgewright.controller.orders import BATCH, COMMAND_LIFE_S, DESIRED_LIFE_S, Orders, new_deployment_id
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import Reports
from edgewright.core.artifact import Artifact, Blob
from edgewright.core.errors import Rejected
from edgewright.core.profile import ProfileOrder
from edgewright.core.trust import signed_bytes
from edgewright.core.wire.messages import Command, Desired, Envelope, Order, Reply, Status, decode
from edgewright.core.wire.topics import check_name

NOW_S = 1_800_000_000.0

MakeOrder = Callable[..., Order]


def sign(data: bytes) -> tuple[str, str]:
    """The test sees what is signed; that signatures are right is the keys' and the trust's."""
    return "0" * 64, f"{len(data):0128x}"


def goals(orders: Orders, now_s: float = NOW_S) -> dict[str, Desired]:
    return {device: content(payload, Desired) for device, payload in orders.sign_changed_goals(sign, now_s)}


def commands(orders: Orders, now_s: float = NOW_S) -> list[Command]:
    return [content(payload, Command) for _, payload in orders.sign_commands(sign, now_s)]


def content(payload: bytes, kind: Any) -> Any:
    envelope = decode(payload, Envelope)
    assert envelope.signatures[0].sig == f"{len(signed_bytes(envelope.kind, envelope.signed)):0128x}"
    return decode(envelope.signed, kind)


def online(device: str, session: int) -> Status:
    return Status(fleet="fleet", device=device, online=True, boot_id="b", session=session, agent_version="1")


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        call()
    return refused.value.code


def test_a_new_device_gets_an_empty_goal_of_its_own(orders: Orders) -> None:
    first = goals(orders)

    assert sorted(first) == ["board-1", "board-2"]
    assert first["board-1"] == Desired(
        fleet="fleet", device="board-1", sequence=int(NOW_S), issued_s=NOW_S, expires_s=NOW_S + DESIRED_LIFE_S, models={}
    )
    assert goals(orders) == {}


def test_a_deployment_changes_the_goal_of_the_devices_that_it_names(orders: Orders, order: MakeOrder) -> None:
    goals(orders)
    orders.deploy("m", order(), ["board-1"], NOW_S)

    assert {device: goal.models for device, goal in goals(orders).items()} == {"board-1": {"m": order()}}


def test_a_deployment_that_names_nobody_is_for_all(orders: Orders, order: MakeOrder, reports: Reports) -> None:
    orders.deploy("m", order(), [], NOW_S)

    assert sorted(device for device, goal in goals(orders).items() if goal.models) == ["board-1", "board-2"]
    assert [target.device for target in reports.deployment("d-1").devices] == ["board-1", "board-2"]


def test_models_are_wanted_beside_each_other_and_a_newer_one_takes_the_place_of_its_like(orders: Orders, order: MakeOrder) -> None:
    orders.deploy("a", order("d-1"), ["board-1"], NOW_S)
    orders.deploy("b", order("d-2"), ["board-1"], NOW_S)
    orders.deploy("a", order("d-3", "3"), ["board-1"], NOW_S)

    assert {name: entry.deployment for name, entry in goals(orders)["board-1"].models.items()} == {"a": "d-3", "b": "d-2"}


def test_a_removed_model_is_absent_from_the_goal(orders: Orders, order: MakeOrder) -> None:
    orders.deploy("a", order("d-1"), [], NOW_S)
    orders.deploy("b", order("d-2"), [], NOW_S)
    goals(orders)

    assert orders.remove("a", ["board-2"], NOW_S) == 1
    assert {device: sorted(goal.models) for device, goal in goals(orders).items()} == {"board-2": ["b"]}
    assert orders.remove("a", [], NOW_S) == 1
    assert orders.remove("b", [], NOW_S) == 2


@pytest.mark.parametrize(
    ("model", "devices", "code"), [("m", ["board-9"], "device-unknown"), ("m", ["board-1", "nobody"], "device-unknown"), ("M!", [], "bad-name")]
)
def test_a_deployment_to_a_name_that_is_not_there_changes_nothing(
    orders: Orders, order: MakeOrder, model: str, devices: list[str], code: str
) -> None:
    goals(orders)

    assert code_of(lambda: orders.deploy(model, order(), devices, NOW_S)) == code
    assert goals(orders) == {}


def test_the_nearest_device_is_named(orders: Orders, order: MakeOrder) -> None:
    with pytest.raises(Rejected) as refused:
        orders.deploy("m", order(), ["board1"], NOW_S)

    assert "board-1" in refused.value.next_step


def test_a_fleet_of_nobody_takes_no_deployment(database: Database, order: MakeOrder) -> None:
    assert code_of(lambda: Orders(database, "fleet").deploy("m", order(), [], NOW_S)) == "device-unknown"


def test_a_model_that_nobody_shall_have_cannot_be_removed(orders: Orders, order: MakeOrder) -> None:
    assert code_of(lambda: orders.remove("m", [], NOW_S)) == "model-unknown"
    orders.deploy("m", order(), ["board-1"], NOW_S)
    assert code_of(lambda: orders.remove("mm", [], NOW_S)) == "model-unknown"


@pytest.mark.parametrize(
    ("artifact", "code"),
    [(Artifact({}), "artifact-malformed"), (Artifact({"../model.onnx": Blob("0" * 64, 1)}), "artifact-malformed")],
)
def test_an_order_that_devices_would_refuse_is_refused_here(orders: Orders, order: MakeOrder, artifact: Artifact, code: str) -> None:
    assert code_of(lambda: orders.deploy("m", msgspec.structs.replace(order(), model=artifact), [], NOW_S)) == code


@pytest.mark.parametrize("change", [{"version": "v" * 129}, {"deadline_s": 0.0}, {"probation_s": -1.0}, {"recipe": "r" * 65}])
def test_an_order_out_of_the_wires_bounds_is_refused_here(orders: Orders, order: MakeOrder, change: dict[str, Any]) -> None:
    assert code_of(lambda: orders.deploy("m", msgspec.structs.replace(order(), **change), [], NOW_S)) == "message-malformed"


def test_a_goal_is_measured_as_it_will_be_signed(orders: Orders, order: MakeOrder) -> None:
    """Inside an envelope every quotation mark takes two bytes: a goal that fits alone may be too long when it is signed."""
    goals(orders)
    names = {"model.onnx": Blob("0" * 64, 5), **{f"f{number}": Blob("0" * 64, 5) for number in range(9)}}
    wide = msgspec.structs.replace(order(), model=Artifact(names))
    count = 0

    def deploy_more() -> None:
        nonlocal count
        for count in range(1000):
            orders.deploy(f"m{count}", msgspec.structs.replace(wide, deployment=f"d-{count}"), ["board-1"], NOW_S)

    assert code_of(deploy_more) == "message-too-large"
    assert sorted(goals(orders)["board-1"].models) == sorted(f"m{number}" for number in range(count))
    assert count > 20


def test_numbers_follow_the_clock_and_never_go_back(orders: Orders, order: MakeOrder) -> None:
    numbers = []
    for step, now_s in enumerate([NOW_S, NOW_S, NOW_S - 1000, NOW_S + 500]):
        orders.deploy("m", order(f"d-{step}"), ["board-1"], now_s)
        numbers.append(goals(orders, now_s)["board-1"].sequence)

    assert numbers == [1_800_000_000, 1_800_000_001, 1_800_000_002, 1_800_000_500]


def test_a_database_that_was_lost_goes_on_above_the_numbers_that_it_gave(orders: Orders, order: MakeOrder, tmp_path: Any) -> None:
    for step in range(5):
        orders.deploy("m", order(f"d-{step}"), ["board-1"], NOW_S)
        last = goals(orders)["board-1"].sequence
    fresh = Orders(Database(tmp_path / "fresh.sqlite"), "fleet")
    fresh.enroll("board-1", NOW_S + 60)

    assert goals(fresh, NOW_S + 60)["board-1"].sequence > last


def test_a_goal_is_signed_anew_in_the_middle_of_its_life(orders: Orders) -> None:
    goals(orders)

    assert goals(orders, NOW_S + DESIRED_LIFE_S / 2 - 1) == {}
    renewed = goals(orders, NOW_S + DESIRED_LIFE_S / 2 + 1)
    assert {goal.expires_s for goal in renewed.values()} == {NOW_S + 1.5 * DESIRED_LIFE_S + 1}


def test_after_a_reconnect_every_goal_that_is_still_good_is_published_again(orders: Orders) -> None:
    signed = dict(orders.sign_changed_goals(sign, NOW_S))

    assert dict(orders.all_desired(NOW_S + 1)) == signed
    assert list(orders.all_desired(NOW_S + DESIRED_LIFE_S + 1)) == []


def test_a_large_fleet_is_signed_and_published_in_batches(database: Database) -> None:
    orders = Orders(database, "fleet")
    for number in range(BATCH + 5):
        orders.enroll(f"board-{number}", NOW_S)
    batches = [len(orders.sign_changed_goals(sign, NOW_S)) for _ in range(3)]

    assert batches == [BATCH, 5, 0]
    assert len(list(orders.all_desired(NOW_S))) == BATCH + 5


def test_a_device_that_is_enrolled_again_gets_its_goal_again(orders: Orders, order: MakeOrder) -> None:
    orders.deploy("m", order(), [], NOW_S)
    goals(orders)
    orders.enroll("board-1", NOW_S + 1)

    assert {device: sorted(goal.models) for device, goal in goals(orders, NOW_S + 1).items()} == {"board-1": ["m"]}


def test_a_board_that_takes_the_name_of_another_has_everything_yet_to_do(
    orders: Orders, order: MakeOrder, reports: Reports, recorder: Recorder, event: Any
) -> None:
    orders.deploy("m", order("d-1"), ["board-1"], NOW_S)
    old = NUMBERS_PER_START * 1_800_000_000
    recorder.record(event("SUCCEEDED", deployment="d-1", sequence=old + 40, attempt=3), NOW_S)
    assert [target.state for target in reports.deployment("d-1").devices] == ["SUCCEEDED"]
    orders.enroll("board-1", NOW_S + 1)
    assert [target.state for target in reports.deployment("d-1").devices] == [None]

    new = NUMBERS_PER_START * 1_800_000_001
    recorder.record(event("DOWNLOADING", deployment="d-1", sequence=new + 1, attempt=1), NOW_S + 2)
    assert [target.state for target in reports.deployment("d-1").devices] == ["DOWNLOADING"]
    recorder.record(event("SUCCEEDED", deployment="d-1", sequence=new + 2, attempt=1), NOW_S + 2)
    assert [target.state for target in reports.deployment("d-1").devices] == ["SUCCEEDED"]


def test_a_wipe_takes_every_model_and_counts_up(orders: Orders, order: MakeOrder) -> None:
    orders.deploy("m", order("d-1"), [], NOW_S)
    goals(orders)
    assert orders.wipe("board-1", NOW_S + 1) == (1, 1)
    assert orders.wipe("board-1", NOW_S + 2) == (0, 2)
    (goal,) = goals(orders, NOW_S + 3).values()

    assert (goal.device, goal.wipe, goal.models) == ("board-1", 2, {})


def test_a_deployment_that_was_never_heard_of_ends_when_another_takes_its_place(orders: Orders, order: MakeOrder, reports: Reports) -> None:
    orders.deploy("m", order("d-1"), [], NOW_S)
    orders.deploy("m", order("d-2"), ["board-1"], NOW_S + 5)
    orders.remove("m", ["board-2"], NOW_S + 6)

    assert [(target.device, target.state) for target in reports.deployment("d-1").devices] == [
        ("board-1", "SUPERSEDED"),
        ("board-2", "SUPERSEDED"),
    ]
    assert [target.state for target in reports.deployment("d-2").devices] == [None]


def test_a_command_is_signed_once_with_a_number_above_the_goals(orders: Orders) -> None:
    goal = goals(orders)["board-1"]
    identity = orders.command("board-1", "cancel", deployment="d-1", model=None, now_s=NOW_S)

    assert commands(orders) == [
        Command(
            fleet="fleet",
            device="board-1",
            sequence=goal.sequence + 1,
            issued_s=NOW_S,
            expires_s=NOW_S + COMMAND_LIFE_S,
            id=identity,
            verb="cancel",
            deployment="d-1",
        )
    ]
    assert commands(orders) == []


def test_commands_are_signed_in_the_order_in_which_they_were_given(orders: Orders) -> None:
    given = [orders.command("board-1", "report", deployment=None, model=None, now_s=NOW_S + step) for step in range(3)]

    assert [command.id for command in commands(orders, NOW_S + 5)] == given


def test_a_command_for_an_unknown_device_is_refused(orders: Orders) -> None:
    assert code_of(lambda: orders.command("board-9", "cancel", deployment="d", model=None, now_s=NOW_S)) == "device-unknown"


def test_an_unanswered_command_is_sent_again_when_the_device_comes_back(orders: Orders, recorder: Recorder) -> None:
    identity = orders.command("board-1", "rollback", deployment=None, model="m", now_s=NOW_S)
    (first,) = commands(orders)
    recorder.record(online("board-2", 7), NOW_S)
    assert commands(orders) == []
    recorder.record(online("board-1", 7), NOW_S)
    (second,) = commands(orders, NOW_S + 5)
    recorder.record(Reply(fleet="fleet", device="board-1", id=identity, sequence=second.sequence, ok=True), NOW_S)
    recorder.record(online("board-1", 8), NOW_S)

    assert (second.id, second.expires_s) == (first.id, first.expires_s)
    assert second.sequence > first.sequence
    assert commands(orders) == []


def test_after_a_reconnect_unanswered_commands_are_sent_again_until_they_expire(orders: Orders) -> None:
    orders.command("board-1", "rollback", deployment=None, model="m", now_s=NOW_S)
    commands(orders)
    orders.send_commands_again()
    assert len(commands(orders, NOW_S + 5)) == 1
    orders.send_commands_again()

    assert commands(orders, NOW_S + COMMAND_LIFE_S) == []


@pytest.mark.parametrize("model", ["m", "a-model", "x" * 64, "ends-"])
def test_a_deployments_name_is_one_that_devices_take(model: str) -> None:
    first, second = new_deployment_id(model), new_deployment_id(model)

    assert check_name(first, what="deployment") == first
    assert first != second


def test_what_a_person_orders_stands_in_the_audit_log_and_what_is_refused_does_not(orders, database, order):
    orders.deploy("m", order(), ["board-1"], NOW_S, "user:ann")
    orders.command("board-1", "cancel", deployment="d-1", model=None, now_s=NOW_S, actor="user:ann")
    orders.ask_profile("board-1", ProfileOrder(model="m"), NOW_S, "user:ann")
    orders.remove("m", ["board-1"], NOW_S, "user:ann")
    orders.wipe("board-1", NOW_S, "user:ann")
    orders.retire("board-2", NOW_S, "user:ann")
    with pytest.raises(Rejected):
        orders.wipe("board-2", NOW_S, "user:ann")

    entries = [(entry.actor, entry.action, entry.subject) for entry in reversed(AuditLog(database).entries())]
    assert [("user:ann", action, subject) for action, subject in (
        ("deployment.start", "d-1"), ("device.cancel", "board-1"), ("device.profile", "board-1"), ("model.remove", "m"),
        ("device.wipe", "board-1"), ("device.retire", "board-2"),
    )] == entries  # fmt: skip
