from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from edgewright.controller import recorder as module
from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import DeviceView, Reports, TargetView
from edgewright.controller.tables import EventRow, TelemetryRow
from edgewright.core.errors import Reason
from edgewright.core.wire.messages import (
    Capabilities,
    Event,
    Measurement,
    Message,
    ModelReport,
    Order,
    Reply,
    Reported,
    Status,
    Telemetry,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

NOW_S = 1_800_000_000.0
MEASURED = Measurement(chosen=None, baseline=None, verdict=None)
WHO = {"fleet": "fleet", "device": "board-1"}

MakeEvent = Callable[..., Event]
MakeOrder = Callable[..., Order]


def status(session: int, *, online: bool, device: str = "board-1") -> Status:
    return Status(fleet="fleet", device=device, online=online, boot_id=f"boot-{session}", session=session, agent_version="1")


def reported(models: dict[str, ModelReport], time_s: float = NOW_S, device: str = "board-1") -> Reported:
    return Reported(fleet="fleet", device=device, session=1, desired_sequence=1, time_s=time_s, models=models)


def report(deployment: str, state: Any, attempt: int = 1, **fields: Any) -> ModelReport:
    return ModelReport(active=None, previous=None, trial=None, deployment=deployment, state=state, attempt=attempt, **fields)


def board(reports: Reports) -> DeviceView:
    return next(view for view in reports.devices() if view.name == "board-1")


def target(reports: Reports, deployment: str = "d-1") -> TargetView:
    return next(view for view in reports.deployment(deployment).devices if view.device == "board-1")


def test_a_device_is_online_when_it_says_so_and_offline_when_it_says_goodbye(recorder: Recorder, reports: Reports) -> None:
    assert not board(reports).online
    recorder.record(status(1, online=True), NOW_S)
    assert (board(reports).online, board(reports).seen_s, board(reports).session) == (True, NOW_S, 1)
    recorder.record(status(1, online=False), NOW_S + 9)

    assert (board(reports).online, board(reports).seen_s) == (False, NOW_S)


def test_a_will_of_an_older_session_does_not_mark_a_newer_one_dead(recorder: Recorder, reports: Reports) -> None:
    recorder.record(status(2, online=True), NOW_S)
    recorder.record(status(1, online=False), NOW_S)

    assert board(reports).online


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_presence_is_that_of_the_last_session_in_whatever_order_its_news_come(recorder: Recorder, reports: Reports, data: st.DataObject) -> None:
    said = [status(number, online=online) for number in (1, 2, 3) for online in (True, False)]
    if data.draw(st.booleans()):
        said = said[:-1]
    for message in data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=4)))):
        recorder.record(message, NOW_S)

    assert board(reports).online == said[-1].online
    recorder.forget_presence()


def test_when_our_connection_is_lost_nobody_counts_as_online_until_the_broker_says_so_again(recorder: Recorder, reports: Reports) -> None:
    recorder.record(status(5, online=True), NOW_S)
    recorder.forget_presence()
    assert not board(reports).online
    recorder.record(status(5, online=True), NOW_S)

    assert board(reports).online


def test_a_device_that_is_enrolled_again_may_count_its_sessions_from_the_beginning(recorder: Recorder, reports: Reports, orders: Orders) -> None:
    recorder.record(status(900, online=True), NOW_S)
    orders.enroll("board-1", NOW_S)
    recorder.record(status(1, online=True), NOW_S)

    assert (board(reports).online, board(reports).session) == (True, 1)


def test_capabilities_and_reports_are_kept_as_they_were_said_last(recorder: Recorder, reports: Reports) -> None:
    capabilities = Capabilities(**WHO, board="Jetson", machine="aarch64", agent_version="1", memory_mb=4096, cores=4)
    truth = reported({"m": report("d-1", "DOWNLOADING")})
    recorder.record(capabilities, NOW_S)
    recorder.record(truth, NOW_S + 1)

    assert (board(reports).capabilities, board(reports).reported, board(reports).seen_s) == (capabilities, truth, NOW_S + 1)


def test_an_event_moves_its_deployment_on(recorder: Recorder, reports: Reports, orders: Orders, order: MakeOrder, event: MakeEvent) -> None:
    orders.deploy("m", order(), [], NOW_S)
    why = Reason("budget", "too slow", "", "rejected")
    recorder.record(event("MEASURED", measurement=MEASURED), NOW_S)
    recorder.record(event("REJECTED", reason=why, time_s=NOW_S + 7), NOW_S)

    assert target(reports) == TargetView(device="board-1", state="REJECTED", attempt=1, updated_s=NOW_S + 7, reason=why, measurement=MEASURED)
    assert [entry.state for _, entry in reports.events("d-1")] == ["MEASURED", "REJECTED"]


def test_an_event_that_comes_twice_is_kept_once(recorder: Recorder, reports: Reports, event: MakeEvent) -> None:
    one = event("OFFERED")

    assert [recorder.record(one, NOW_S), recorder.record(one, NOW_S)] == [True, False]
    assert len(reports.events()) == 1


def test_two_devices_may_use_one_events_name(recorder: Recorder, reports: Reports, event: MakeEvent) -> None:
    recorder.record(event("OFFERED", sequence=1), NOW_S)
    other = event("OFFERED", sequence=1, device="board-2")

    assert recorder.record(other, NOW_S)
    assert len(reports.events()) == 2


HISTORY = ["OFFERED", "ACCEPTED", "DOWNLOADING", "PAUSED", "DOWNLOADING", "VERIFIED", "OPTIMIZING", "MEASURED", "GATED", "STAGED", "PROBATION"]


@given(seed=st.integers(0, 2**32 - 1), repeats=st.integers(0, 6), last=st.sampled_from(["SUCCEEDED", "FAILED"]))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_recorded_does_not_depend_on_order_or_repetition(
    tmp_path_factory: pytest.TempPathFactory, order: MakeOrder, seed: int, repeats: int, last: Any
) -> None:
    """All events of two attempts and the reports between them, shuffled and repeated: the end is always the same."""
    events = [
        Event(
            **WHO,
            id=f"e{number}",
            sequence=number + 1,
            deployment="d-1",
            model="m",
            attempt=attempt,
            state=state,
            time_s=NOW_S + number,
            measurement=MEASURED if state == "MEASURED" else None,
        )
        for number, (attempt, state) in enumerate(
            [(attempt, state) for attempt in (1, 2) for state in (*HISTORY, "SUCCEEDED" if attempt == 1 else last)]
        )
    ]
    said: list[Message] = [*events, reported({"m": report("d-1", "SUCCEEDED", 1)}, NOW_S + 12), reported({"m": report("d-1", last, 2)}, NOW_S + 24)]
    shuffled = random.Random(seed)
    said += shuffled.choices(said, k=repeats)
    shuffled.shuffle(said)
    with closing(Database(tmp_path_factory.mktemp("any-order") / "fleet.sqlite")) as database:
        orders, recorder = Orders(database, "fleet"), Recorder(database)
        orders.enroll("board-1", NOW_S)
        orders.deploy("m", order(), [], NOW_S)
        for message in said:
            recorder.record(message, NOW_S)

        assert target(Reports(database)) == TargetView(
            device="board-1", state=last, attempt=2, updated_s=NOW_S + 23, reason=None, measurement=MEASURED
        )
        assert len(Reports(database).events("d-1")) == len(events)


def test_a_report_closes_a_deployment_whose_last_event_was_lost_and_late_events_do_not_open_it(
    recorder: Recorder, reports: Reports, orders: Orders, order: MakeOrder, event: MakeEvent
) -> None:
    orders.deploy("m", order(), [], NOW_S)
    recorder.record(event("OFFERED", sequence=1), NOW_S)
    recorder.record(reported({"m": report("d-1", "SUCCEEDED")}), NOW_S)
    assert target(reports).state == "SUCCEEDED"
    recorder.record(event("OPTIMIZING", sequence=5), NOW_S)
    assert target(reports).state == "SUCCEEDED"
    recorder.record(event("ACCEPTED", sequence=9, attempt=2), NOW_S)

    assert (target(reports).state, target(reports).attempt) == ("ACCEPTED", 2)


def test_a_report_without_a_deployment_that_is_no_goal_any_more_ends_it(
    recorder: Recorder, reports: Reports, orders: Orders, order: MakeOrder, event: MakeEvent
) -> None:
    orders.deploy("m", order("d-1"), [], NOW_S)
    recorder.record(event("DOWNLOADING"), NOW_S)
    orders.deploy("m", order("d-2"), [], NOW_S)
    recorder.record(reported({"m": report("d-1", "DOWNLOADING")}), NOW_S)
    assert target(reports, "d-1").state == "DOWNLOADING"
    recorder.record(reported({"m": report("d-2", "DOWNLOADING")}, NOW_S + 3), NOW_S)

    assert (target(reports, "d-1").state, target(reports, "d-1").updated_s) == ("SUPERSEDED", NOW_S + 3)
    assert not target(reports, "d-2").is_over


def test_a_report_from_before_a_goal_arrived_does_not_end_it(recorder: Recorder, reports: Reports, orders: Orders, order: MakeOrder) -> None:
    orders.deploy("m", order("d-1"), [], NOW_S)
    recorder.record(reported({}), NOW_S)

    assert target(reports).state is None


def test_telemetry_and_events_are_bounded_for_each_device(
    recorder: Recorder, database: Database, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TELEMETRY_KEPT", 3)
    monkeypatch.setattr(module, "EVENTS_KEPT", 4)
    monkeypatch.setattr(module, "TRIM_EVERY", 1)
    for step in range(10):
        for device in ("board-1", "board-2"):
            recorder.record(Telemetry(fleet="fleet", device=device, time_s=float(step), uptime_s=1.0), NOW_S)
            recorder.record(event("DOWNLOADING", device=device, sequence=step + 1), NOW_S)
    with database.reading() as session:
        telemetry = session.execute(select(TelemetryRow.device, func.min(TelemetryRow.time_s), func.count()).group_by(TelemetryRow.device)).all()
        events = session.execute(select(EventRow.device, func.min(EventRow.sequence), func.count()).group_by(EventRow.device)).all()

    assert [tuple(row) for row in telemetry] == [("board-1", 7.0, 3), ("board-2", 7.0, 3)]
    assert [tuple(row) for row in events] == [("board-1", 7, 4), ("board-2", 7, 4)]


def test_the_first_answer_to_a_command_counts(recorder: Recorder, reports: Reports, orders: Orders) -> None:
    identity = orders.command("board-1", "cancel", deployment="d-1", model=None, now_s=NOW_S)
    yes = Reply(**WHO, id=identity, sequence=1, ok=True)
    no = Reply(**WHO, id=identity, sequence=2, ok=False)
    assert reports.reply(identity) is None
    recorder.record(yes, NOW_S)
    recorder.record(no, NOW_S)

    assert reports.reply(identity) == yes


def test_nobody_answers_for_another_device(recorder: Recorder, reports: Reports, orders: Orders) -> None:
    identity = orders.command("board-1", "cancel", deployment="d-1", model=None, now_s=NOW_S)

    assert not recorder.record(Reply(fleet="fleet", device="board-2", id=identity, sequence=1, ok=True), NOW_S)
    assert not recorder.record(Reply(**WHO, id="unknown", sequence=1, ok=True), NOW_S)
    assert reports.reply(identity) is None


def test_nothing_is_kept_of_a_device_that_is_not_enrolled(recorder: Recorder, reports: Reports, event: MakeEvent) -> None:
    who = {"fleet": "fleet", "device": "stranger"}
    kept = [
        recorder.record(status(1, online=True, device="stranger"), NOW_S),
        recorder.record(Capabilities(**who, board="b", machine="m", agent_version="1", memory_mb=1, cores=1), NOW_S),
        recorder.record(reported({}, device="stranger"), NOW_S),
        recorder.record(event("OFFERED", device="stranger"), NOW_S),
        recorder.record(Telemetry(**who, time_s=1.0, uptime_s=1.0), NOW_S),
    ]

    assert kept == [False] * 5
    assert [view.name for view in reports.devices()] == ["board-1", "board-2"]
    assert reports.events() == []


def test_the_largest_numbers_of_the_wire_fit_the_database(recorder: Recorder, reports: Reports, tmp_path: Path) -> None:
    recorder.record(status(2**53 - 1, online=True), NOW_S)

    assert board(reports).session == 2**53 - 1
