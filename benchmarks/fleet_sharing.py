"""Two controllers on one PostgreSQL, one of them killed in the middle of a rollout: how long nothing goes on, and what happens twice or never.

Every few seconds one deployment of its own is sent to one device as well; the longest of them is the longest stall that a deployment has seen.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgewright.controller.account_tables import AuditRow, LeaseRow
from edgewright.controller.broker import OwnBroker, free_port
from edgewright.controller.database import Database
from edgewright.controller.enrollment import controller_password
from edgewright.controller.inventory import Selector
from edgewright.controller.keys import init_keys, private_file
from edgewright.controller.orders import Orders
from edgewright.controller.passwords import set_passwords
from edgewright.controller.paths import FleetPaths
from edgewright.controller.reports import Reports
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts
from edgewright.controller.tables import Device, EventRow
from fleet_rig import Controller, order_of, until
from light_devices import LightFleet, behaviour
from rig import FLEET
from sqlalchemy import func, select

PROBE_S = 2.0
WAVES = 5
ROLLOUT_S = 180.0


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """A server of our own with its data in `folder`, with the durability that it ships with; the URL of its empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        raise SystemExit("PostgreSQL is not installed: apt install postgresql")
    port, data, prefix = free_port(), folder / "postgresql", list[str]()
    data.mkdir()
    if os.geteuid() == 0:  # it refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        folder.chmod(0o711)
        prefix = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data}"

    def run(*command: str) -> None:
        with (folder / "postgresql.log").open("ab") as log:
            subprocess.run([*prefix, *command], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=data)

    run(str(binaries[-1] / "initdb"), "-D", str(data / "data"), "-U", "edgewright", "--auth=trust", "-E", "UTF8", "--locale=C")
    control = [str(binaries[-1] / "pg_ctl"), "-D", str(data / "data")]
    run(*control, "-o", options, "-w", "start")
    try:
        yield f"postgresql://edgewright@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "immediate", "-w", "stop")


class Sharing:
    """The part ``controllers``."""

    def __init__(self, count: int, stack: ExitStack) -> None:
        self.count, self.stack = count, stack
        self.folder = Path(tempfile.mkdtemp(prefix="edgewright-bench-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.paths = FleetPaths(self.folder / "fleet")
        self.stalls_s: list[float] = []
        self.results: dict[str, Any] = {"devices": count}

    def run(self) -> dict[str, Any]:
        url = self.stack.enter_context(running_postgresql(self.folder))
        init_keys(self.paths, FLEET, datetime.now(timezone.utc).replace(microsecond=0))
        private_file(self.paths.database_url, url + "\n")
        names = [f"light-{number:05}" for number in range(self.count)]
        passwords = {name: secrets.token_urlsafe(12) for name in [*names, "probe"]}
        self.database = Database(url)
        self.stack.callback(self.database.close)
        self.orders = Orders(self.database, FLEET)
        self.orders.enroll_many([*names, "probe"], time.time())
        set_passwords(self.paths.passwords, passwords)
        password = controller_password(self.paths)
        broker = self.stack.enter_context(OwnBroker(self.paths, FLEET, "mosquitto"))
        self.controllers = [Controller(self.paths, broker.port, password, self.folder / f"controller-{number}.log") for number in range(2)]
        for controller in self.controllers:
            self.stack.callback(controller.stop)
            controller.start()
        self.fleet = LightFleet(FLEET, passwords, broker.port)
        self.fleet.devices[-1].behaviour = "well"
        asyncio.run(self.work())
        return self.results

    async def work(self) -> None:
        await self.fleet.connect()
        await until(lambda: self.scalar(select(func.count()).select_from(Device).where(Device.online)) == self.count + 1, 120, "all online")
        await until(lambda: len({self.pid("conduct"), self.pid("record"), 0}) == 3, 60, "a desk each")
        rollouts, names = Rollouts(self.database, self.orders), tuple(device.name for device in self.fleet.devices[:-1])
        shares = tuple(number / WAVES for number in range(1, WAVES + 1))
        plan = RolloutPlan(canary=0, shares=shares, device_timeout_s=45.0, max_failed_share=0.2, min_succeeded_share=0.9)
        probing = asyncio.create_task(self.probe())
        begun = time.monotonic()
        identity = rollouts.start("model", order_of("d-1"), Selector(devices=names), plan, "bench", time.time())
        killed: list[str] = []
        for desk, wave in (("conduct", 1), ("record", 3)):
            view = rollouts.view(identity, time.time())
            while view.wave < wave or not view.waves[wave].released:
                await asyncio.sleep(0.2)
                view = rollouts.view(identity, time.time())
                if view.state != "RUNNING" or time.monotonic() - begun > ROLLOUT_S:
                    raise SystemExit(f"the rollout is {view.state} in wave {view.wave}: {view.waves[view.wave]}, {view.reason}")
            killed.append(await self.kill(desk))
        await until(lambda: rollouts.view(identity, time.time()).is_over, ROLLOUT_S, "the end of the rollout")
        self.results["rollout_s"] = time.monotonic() - begun
        probing.cancel()
        self.judge(rollouts, identity, killed)
        self.fleet.close()

    async def kill(self, desk: str) -> str:
        """Whoever sits at the desk; the other has it all in a while, and a new process comes."""
        pid, begun = self.pid(desk), time.monotonic()
        (victim,) = (one for one in self.controllers if one.process is not None and one.process.pid == pid)
        os.kill(pid, signal.SIGKILL)
        assert victim.process is not None
        victim.process.wait()
        await until(lambda: self.pid(desk) not in {0, pid}, 60, "the desk has a new holder")
        took_s = time.monotonic() - begun
        victim.start()
        await until(lambda: len({self.pid("conduct"), self.pid("record"), 0}) == 3, 60, "a desk each")
        return f"{desk}: taken after {took_s:.1f} s"

    async def probe(self) -> None:
        """One deployment after the other, to a device of its own, from the order to its success in the database."""
        reports, number = Reports(self.database), 0
        while True:
            number += 1
            order, begun = order_of(f"p-{number}", b"%d" % number), time.monotonic()
            self.orders.deploy("model", order, ["probe"], time.time())
            await until(lambda name=order.deployment: reports.deployment(name).devices[0].is_over, 120, "a deployment beside the rollout")
            self.stalls_s.append(time.monotonic() - begun)
            await asyncio.sleep(PROBE_S)

    def judge(self, rollouts: Rollouts, identity: str, killed: list[str]) -> None:
        states: dict[str, str | None] = {}
        while page := rollouts.members(identity, after_device=max(states, default="")):
            states.update({member.device: member.state for member in page})
        wanted = {"well": "SUCCEEDED", "fails": "FAILED", "silent": None}
        waves = self.scalar(select(func.count()).select_from(AuditRow).where(AuditRow.action == "rollout.wave", AuditRow.subject == identity))
        self.results |= {
            "state": rollouts.view(identity, time.time()).state,
            "killed": killed,
            "deployments_beside": self.stalls_s,
            "deployment_s": {"median": sorted(self.stalls_s)[len(self.stalls_s) // 2], "longest": max(self.stalls_s)},
            "wrong_states": sum(state != wanted[behaviour(name)] for name, state in states.items()),
            "twice": sum(number > 1 for number in self.fleet.counts.effects.values()),
            "waves_opened": waves,
            "events_said": self.fleet.counts.said["event"],
            "events_stored": self.scalar(select(func.count()).select_from(EventRow)),
        }

    def pid(self, desk: str) -> int:
        found = self.scalar(select(LeaseRow.holder).where(LeaseRow.name == desk))
        return int(found.split("-")[0]) if found else 0

    def scalar(self, query: Any) -> Any:
        with self.database.reading() as session:
            return session.scalar(query)
