from __future__ import annotations

from collections.abc import Callable

import pytest
from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import DeploymentView, Reports, TargetView
from edgewright.core.errors import Rejected
from edgewright.core.wire.messages import TERMINAL_STATES, Event, ModelReport, Order, Reported

NOW_S = 1_800_000_000.0


def test_a_device_that_has_said_nothing_is_offline_and_unknown(orders: Orders, reports: Reports) -> None:
    view = reports.devices()[0]

    assert (view.name, view.online, view.seen_s, view.capabilities, view.reported) == ("board-1", False, None, None, None)


def test_a_deployment_is_shown_with_all_its_devices(orders: Orders, reports: Reports, order: Callable[..., Order]) -> None:
    orders.deploy("m", order(version="7"), [], NOW_S)
    unheard = [TargetView(device=name, state=None, attempt=0, updated_s=None, reason=None, measurement=None) for name in ("board-1", "board-2")]

    assert reports.deployment("d-1") == DeploymentView(deployment="d-1", model="m", version="7", created_s=NOW_S, devices=tuple(unheard))


def test_the_latest_deployment_has_a_name_of_its_own(orders: Orders, reports: Reports, order: Callable[..., Order]) -> None:
    for number, now_s in enumerate([NOW_S, NOW_S + 2, NOW_S + 1]):
        orders.deploy("m", order(f"d-{number}"), [], now_s)

    assert reports.deployment("latest").deployment == "d-1"


def test_a_deployment_that_nobody_knows_is_refused_with_the_nearest(orders: Orders, reports: Reports, order: Callable[..., Order]) -> None:
    with pytest.raises(Rejected) as nothing:
        reports.deployment("latest")
    orders.deploy("m", order("d-1"), [], NOW_S)
    with pytest.raises(Rejected) as refused:
        reports.deployment("d-11")

    assert (nothing.value.code, refused.value.code) == ("deployment-unknown", "deployment-unknown")
    assert "d-1" in refused.value.next_step


def test_events_are_read_on_from_where_one_has_stopped(recorder: Recorder, reports: Reports, event: Callable[..., Event]) -> None:
    recorder.record(event("OFFERED"), NOW_S)
    recorder.record(event("OFFERED", deployment="d-2"), NOW_S)
    first = reports.events("d-1")
    recorder.record(event("ACCEPTED"), NOW_S)

    assert [entry.state for _, entry in first] == ["OFFERED"]
    assert [entry.state for _, entry in reports.events("d-1", first[-1][0])] == ["ACCEPTED"]
    assert len(reports.events()) == 3


@pytest.mark.parametrize("state", [None, "OFFERED", "PROBATION", "ROLLING_BACK", *sorted(TERMINAL_STATES)])
def test_a_target_is_over_in_a_terminal_state_only(state: str | None) -> None:
    target = TargetView(device="d", state=state, attempt=1, updated_s=None, reason=None, measurement=None)

    assert target.is_over == (state in {"SUCCEEDED", "REJECTED", "FAILED", "CANCELED", "TIMED_OUT", "SUPERSEDED"})


@pytest.mark.parametrize(
    ("state", "reported", "expected"),
    [
        ("OPTIMIZING", "d-1", (0.5, "building int8")),
        ("MEASURED", "d-1", (None, "")),
        ("OPTIMIZING", "d-0", (None, "")),
        ("OPTIMIZING", None, (None, "")),
    ],
    ids=["under way", "over", "another deployment's", "not reported"],
)
def test_a_build_under_way_is_shown_with_its_progress(
    orders: Orders,
    recorder: Recorder,
    reports: Reports,
    order: Callable[..., Order],
    event: Callable[..., Event],
    state: str,
    reported: str | None,
    expected: object,
) -> None:
    orders.deploy("m", order(), ["board-1"], NOW_S)
    recorder.record(event(state), NOW_S)
    slots = {"active": None, "previous": None, "trial": None}
    if reported is not None:
        report = ModelReport(**slots, deployment=reported, state="OPTIMIZING", attempt=1, progress=0.5, progress_note="building int8")
        message = Reported(fleet="fleet", device="board-1", session=1, desired_sequence=1, time_s=NOW_S, models={"m": report})
        recorder.record(message, NOW_S)
    (target,) = reports.deployment("d-1").devices

    assert (target.progress, target.progress_note) == expected


def test_reading_changes_nothing(orders: Orders, database: Database, reports: Reports) -> None:
    before = database.change_mark()
    reports.devices()
    reports.events()

    assert database.change_mark() == before
