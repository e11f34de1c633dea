from __future__ import annotations

from collections.abc import Callable

import pytest
from edgewright.controller.database import Database
from edgewright.controller.demand import LOOK_S, Demand
from edgewright.controller.orders import Orders
from edgewright.controller.recorder import Recorder
from edgewright.core.wire.messages import Event, Order, Status

NOW_S = 1_800_000_000.0


@pytest.fixture
def fleet(orders: Orders, recorder: Recorder) -> list[str]:
    """Five devices online, one offline."""
    names = [f"many-{number}" for number in range(6)]
    orders.enroll_many(names, NOW_S)
    for name in names[:5]:
        recorder.record(Status(fleet="fleet", device=name, online=True, boot_id="b", session=1, agent_version="1"), NOW_S)
    return names


def test_those_count_who_are_online_and_have_not_fetched_it(
    database: Database, orders: Orders, recorder: Recorder, fleet: list[str], order: Callable[..., Order], event: Callable[..., Event]
) -> None:
    wanted, now_s = order(), [0.0]
    digest = wanted.model.files["model.onnx"].digest
    demand = Demand(database, 3, lambda: now_s[0])
    assert demand.of(digest) == 0
    orders.deploy("m", wanted, [], NOW_S)
    assert demand.of(digest) == 0  # looked at a moment ago
    now_s[0] += LOOK_S
    assert demand.of(digest) == 5
    for device, state in ((fleet[0], "DOWNLOADING"), (fleet[1], "VERIFIED"), (fleet[2], "REJECTED")):
        recorder.record(event(state, device=device), NOW_S)
    now_s[0] += LOOK_S
    assert demand.of(digest) == 3
    recorder.record(event("VERIFIED", device=fleet[0]), NOW_S)
    now_s[0] += LOOK_S

    assert demand.of(digest) == 0  # fewer than what is called many


def test_a_goal_that_was_replaced_counts_no_more(database: Database, orders: Orders, fleet: list[str], order: Callable[..., Order]) -> None:
    old, new = order("d-1", "1"), order("d-2", "2")
    orders.deploy("m", old, [], NOW_S)
    orders.deploy("m", new, fleet, NOW_S)
    demand = Demand(database, 3)

    assert demand.of(old.model.files["model.onnx"].digest) == 0
    assert demand.of(new.model.files["model.onnx"].digest) == 5
