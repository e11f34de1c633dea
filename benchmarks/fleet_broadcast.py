"""One blob to ten real agents: by broadcast, and by ten pulls at the same time. What the controller sends is counted at its sockets by the kernel.

The agents are the daemon as it runs on a board. The "model" is noise: it is fetched and verified, then it cannot be read, and that ends it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker import OwnBroker
from edgewright.controller.database import Database
from edgewright.controller.enrollment import Address, controller_password, enroll
from edgewright.controller.inventory import DeviceQuery, Inventory
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.reports import Reports
from edgewright.core.artifact import Artifact
from edgewright.core.wire.messages import Order
from fleet_rig import Controller
from rig import FLEET, children, die_with_parent, stop

# Ten boards have ten disks: on one they would wait for one another.
MEMORY = Path("/dev/shm")
AGENTS = 10
SIZE_BYTES = 30_000_000
READY_S = 180.0
FETCH_S = 120.0


class Broadcasting:
    """The part ``broadcast``: one fleet, and the same for every run."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix="edgewright-bench-", dir=MEMORY if MEMORY.is_dir() else None))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.paths = FleetPaths(self.folder / "fleet")
        self.seen: set[int] = set()
        self.names = [f"board-{number}" for number in range(AGENTS)]

    def run(self) -> dict[str, Any]:
        init_keys(self.paths, FLEET, datetime.now(timezone.utc).replace(microsecond=0))
        password = controller_password(self.paths)
        self.database = Database(self.paths.database)
        self.stack.callback(self.database.close)
        self.orders, self.blobs = Orders(self.database, FLEET), BlobStore(self.paths.blobs)
        broker = self.stack.enter_context(OwnBroker(self.paths, FLEET, "mosquitto"))
        for name in self.names:
            device = self.folder / name
            enroll(self.paths, self.orders, FLEET, name, device, Address("127.0.0.1", broker.port), self.folder / f"{name}-state")
            broker.refresh()
            pid = self.start_agent(device)
            self.wait(lambda pid=pid: self.has_looked(pid), READY_S)  # one after the other: each looks at the machine by a child
        results: dict[str, Any] = {"agents": AGENTS, "bytes": SIZE_BYTES}
        for name, before in (("pulls", "from edgewright.controller import broadcast; broadcast.MIN_DEVICES = 1000"), ("broadcast", "")):
            controller = Controller(self.paths, broker.port, password, self.folder / f"{name}.log", before)
            with ExitStack() as running:
                running.callback(controller.stop)
                controller.start()
                self.wait(lambda: Inventory(self.database).search(DeviceQuery(online=True), limit=1).total == AGENTS, READY_S)
                results[name] = self.fetch(name, controller)
        results["share_of_pulls"] = results["broadcast"]["seconds"] / results["pulls"]["seconds"]
        results["sent_of_size"] = results["broadcast"]["controller_sent_bytes"] / SIZE_BYTES
        return results

    def start_agent(self, device: Path) -> int:
        with (device / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgewright.agent", "--config", str(device / "agent.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONSAFEPATH": "1"},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, safe after a fork
            )
        self.stack.callback(stop, process)
        return process.pid

    def has_looked(self, pid: int) -> bool:
        """Its first child, which looks at the machine, has come and gone."""
        if children(pid):
            self.seen.add(pid)
        return pid in self.seen and not children(pid)

    def fetch(self, name: str, controller: Controller) -> dict[str, Any]:
        """From the order to the last agent that has verified it."""
        model = self.folder / "model.onnx"
        model.write_bytes(os.urandom(SIZE_BYTES))
        order = Order(deployment=name, version="1", model=Artifact({"model.onnx": self.blobs.add_file(model)}), model_file="model.onnx")
        reports, before, begun = Reports(self.database), controller.sent_bytes(), time.monotonic()
        self.orders.deploy("model", order, [], time.time())
        self.wait(lambda: {event.device for _, event in reports.events(name) if event.state == "VERIFIED"} == set(self.names), FETCH_S)
        seconds, sent = time.monotonic() - begun, controller.sent_bytes() - before
        self.wait(lambda: all(device.is_over for device in reports.deployment(name).devices), FETCH_S)
        return {"seconds": seconds, "controller_sent_bytes": sent}

    def wait(self, look: Any, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not look():
            if time.monotonic() > deadline_s:
                raise SystemExit("not in time")
            time.sleep(0.02)
