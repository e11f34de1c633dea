"""Two serving processes on one PostgreSQL and one broker share the work, and one goes on when the other is killed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.controller.account_tables import LeaseRow
from edgewright.controller.database import Database
from edgewright.controller.keys import init_keys, private_file
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.reports import Reports
from edgewright.core.wire.messages import Desired, Envelope, Event, Get, Order, decode, encode
from edgewright.core.wire.topics import topic
from sqlalchemy import select

WAIT_S = 30.0
# The shipped times are five times as long: a test has not the time to wait for them.
QUICK = "from edgewright.controller import leases; leases.LEASE_S, leases.LOOK_S, leases.MARGIN_S = 2.0, 0.2, 0.4"


class SharedFleet:
    """A state folder whose database is a PostgreSQL, and two processes that serve it."""

    def __init__(self, folder: Path, url: str, broker: Any, serving: ModuleType, stack: ExitStack) -> None:
        self.paths = FleetPaths(folder)
        init_keys(self.paths, "fleet", dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
        private_file(self.paths.database_url, url + "\n")
        self.database = stack.enter_context(closing(Database(url)))
        self.orders, self.reports = Orders(self.database, "fleet"), Reports(self.database)
        self.orders.enroll("board-1", time.time())
        address = f"mqtt://controller:password%20of%20controller@127.0.0.1:{broker.port}"
        self.processes = [stack.enter_context(serving.ServeProcess(folder, "--broker", address, before=QUICK)) for _ in range(2)]
        assert [process.ready["ready"] for process in self.processes] == [True, True]

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` sees as soon as it is true; other processes bring it about."""
        deadline_s, idle = time.monotonic() + WAIT_S, threading.Event()
        while not (found := look()):
            assert time.monotonic() < deadline_s, "it did not happen in time"
            idle.wait(0.02)
        return found

    def holder(self, desk: str) -> int:
        """The process at the desk; 0 = nobody."""
        with self.database.reading() as session:
            held = session.scalar(select(LeaseRow.holder).where(LeaseRow.name == desk))
        return int(held.split("-")[0]) if held else 0


@pytest.fixture
def fleet(load_fake: Callable[[str], ModuleType], broker: Any, tmp_path: Path) -> Iterator[SharedFleet]:
    with load_fake("postgresql").running_postgresql() as url, ExitStack() as stack:
        yield SharedFleet(tmp_path / "fleet", url, broker, load_fake("serving"), stack)
    broker.client(client_id="fleet_controller", clean=True)  # the broker kept it for the next recorder


def goals(client: Any) -> list[set[str]]:
    found = [decode(decode(entry.payload, Envelope).signed, Desired) for entry in client.heard if entry.topic.endswith("/desired")]
    return [set(desired.models) for desired in found]


@pytest.mark.parametrize("running_broker", ["mosquitto"], indirect=True)
def test_when_one_of_two_is_killed_the_other_does_all_and_nothing_is_lost(
    fleet: SharedFleet, broker: Any, order: Callable[..., Order], event: Callable[..., Event]
) -> None:
    pids = {process.process.pid for process in fleet.processes}
    fleet.until(lambda: {fleet.holder("conduct"), fleet.holder("record")} == pids)
    client = broker.client("board-1")
    client.subscribe(topic("fleet", "board-1", "desired"), topic("fleet", "board-1", "blob"))
    fleet.orders.deploy("m", order(), [], time.time())
    client.until(lambda: {"m"} in goals(client))

    # Whoever records dies; what is said meanwhile is said to nobody.
    killed = fleet.holder("record")
    os.kill(killed, signal.SIGKILL)
    client.publish(topic("fleet", "board-1", "event"), encode(event("ACCEPTED")))
    (alive,) = pids - {killed}
    fleet.until(lambda: fleet.holder("record") == fleet.holder("conduct") == alive)
    fleet.until(lambda: fleet.reports.deployment("d-1").devices[0].state == "ACCEPTED")

    # And the one that is left does the rest: goals, and whatever blob is asked for.
    fleet.orders.deploy("n", order("d-2"), [], time.time())
    client.until(lambda: {"m", "n"} in goals(client))
    for number in range(8):
        get = Get(fleet="fleet", device="board-1", digest=f"{number:064x}", ranges=((0, 0),), window=1)
        client.publish(topic("fleet", "board-1", "get"), encode(get), qos=0)
    client.until(lambda: sum(entry.topic.endswith("/blob") for entry in client.heard) == 8)
