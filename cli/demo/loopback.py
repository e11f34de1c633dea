"""The demo's fleet: a broker, a controller and agents as separate processes on loopback, in one folder that goes away with them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ...controller.blobs import BlobStore
from ...controller.database import Database
from ...controller.enrollment import Address, enroll
from ...controller.keys import init_keys
from ...controller.orders import Orders
from ...controller.paths import FleetPaths
from ...controller.reports import Reports
from ...core.errors import Faulty
from .processes import Processes

FLEET = "demo"
READY_S = 30.0
ONLINE_S = 30.0
POLL_S = 0.1
_AGENT_SETTINGS = """
[optimize]
bench_seconds = 1.0
"""


class Served(msgspec.Struct, frozen=True):
    """The line that ``fleet serve --json`` prints when it is ready."""

    broker: str
    host: str
    port: int


class LoopbackFleet:
    """Owns the processes and the controller's state. A context manager: leaving it stops everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)
        self.paths = FleetPaths(folder / "fleet")
        self.processes = Processes(self._logs)
        init_keys(self.paths, FLEET, dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
        self._database = Database(self.paths.database)
        self.orders = Orders(self._database, FLEET)
        self.reports = Reports(self._database)
        self.blobs = BlobStore(self.paths.blobs)

    def __enter__(self) -> LoopbackFleet:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.processes.stop()
        self._database.close()

    def serve(self, broker: str) -> Served:
        """Start broker and controller, and wait until they answer."""
        self.processes.start("controller", "fleet", "serve", "--state", str(self.paths.root), "--broker", broker, "--port", "0", "--json")
        return msgspec.convert(self.processes.wait_for_line("controller", timeout_s=READY_S), Served, strict=False)

    def start_agents(self, names: Sequence[str], address: Address) -> None:
        """Enroll and start one agent per name, and wait until the controller has heard what each of them is.

        Raises:
            Faulty: ``demo-process-died`` or ``demo-process-silent``.
        """
        for name in names:
            out, state = self._folder / name, self._folder / name / "state"
            enroll(self.paths, self.orders, FLEET, name, out, address, state)
            with (out / "agent.toml").open("a", encoding="utf-8") as file:
                file.write(_AGENT_SETTINGS)
            self.processes.start(name, "agent", "run", "--config", str(out / "agent.toml"))
        deadline = time.monotonic() + ONLINE_S
        while not all(view.online and view.capabilities for view in self.reports.devices()):
            self.check_alive()
            if time.monotonic() > deadline:
                silent = next(view.name for view in self.reports.devices() if not (view.online and view.capabilities))
                last = self.processes.last_words(silent)
                raise Faulty("demo-process-silent", f"{silent} was not online after {ONLINE_S:.0f} s: {last}", "Try again, and read its log")
            time.sleep(POLL_S)

    def check_alive(self) -> None:
        """Raises:
        Faulty: ``demo-process-died`` when one of the processes has ended by itself.
        """
        name = self.processes.dead()
        if name is not None:
            raise Faulty("demo-process-died", f"{name} ended by itself: {self.processes.last_words(name)}", "Read its log with --keep DIR")
