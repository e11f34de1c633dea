"""What the controller bears: many simulated devices through a real broker, and how fast a real agent takes an order.

Parts: ``scale`` (connects, telemetry stored, a rollout in ten waves with failing and silent devices and a controller that is killed in the middle),
``accepted`` (from the order to ACCEPTED on a real agent), ``controllers`` (two on PostgreSQL, each killed once),
``broadcast`` (one blob to ten real agents). The controller is the product, a process of its own, and so is the broker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgewright.controller.broker import OwnBroker
from edgewright.controller.database import Database
from edgewright.controller.enrollment import controller_password
from edgewright.controller.inventory import DeviceQuery, Inventory, Selector
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.passwords import set_passwords
from edgewright.controller.paths import FleetPaths
from edgewright.controller.reports import Reports
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.controller.rollouts import Rollouts, RolloutView
from edgewright.controller.tables import EventRow, TelemetryRow
from fleet_broadcast import Broadcasting
from fleet_rig import Controller, order_of, until
from fleet_sharing import Sharing
from light_devices import LightFleet, behaviour
from rig import FLEET, Rig, exit_on_sigterm
from sqlalchemy import func, select

SILENT_S = 60.0
WAVES = 10
ORDERS = 5
READY_S = 60.0


class Scale:
    """The part ``scale``."""

    def __init__(self, count: int, rate_per_s: float, seconds: float, stack: ExitStack) -> None:
        self.count, self.rate_per_s, self.seconds, self.stack = count, rate_per_s, seconds, stack
        self.folder = Path(tempfile.mkdtemp(prefix="edgewright-bench-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.paths = FleetPaths(self.folder / "fleet")
        self.results: dict[str, Any] = {"devices": count}

    def run(self) -> dict[str, Any]:
        init_keys(self.paths, FLEET, datetime.now(timezone.utc).replace(microsecond=0))
        names = [f"light-{number:05}" for number in range(self.count)]
        passwords = {name: secrets.token_urlsafe(12) for name in names}
        self.database = Database(self.paths.database)
        self.stack.callback(self.database.close)
        self.orders = Orders(self.database, FLEET)
        begun = time.monotonic()
        self.orders.enroll_many(names, time.time())
        set_passwords(self.paths.passwords, passwords)
        password = controller_password(self.paths)
        self.results["enroll_s"] = time.monotonic() - begun
        broker = self.stack.enter_context(OwnBroker(self.paths, FLEET, "mosquitto"))
        self.controller = Controller(self.paths, broker.port, password, self.folder / "controller.log")
        self.stack.callback(self.controller.stop)
        self.controller.start()
        self.fleet = LightFleet(FLEET, passwords, broker.port)
        asyncio.run(self.work())
        self.controller.stop()
        self.results["controller_peak_mb"] = self.controller.peak_mb
        return self.results

    async def work(self) -> None:
        begun = time.monotonic()
        await self.fleet.connect()
        self.results["connect_s"] = time.monotonic() - begun
        await until(lambda: self.online() == self.count, 300, "all devices online")
        self.results["all_known_s"] = time.monotonic() - begun
        self.results["controller_connected_mb"] = self.controller.look()
        await self.measure_telemetry()
        await self.roll_out()
        self.fleet.close()

    def online(self) -> int:
        return Inventory(self.database).search(DeviceQuery(online=True), limit=1).total

    def rows(self, table: Any) -> int:
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    async def measure_telemetry(self) -> None:
        begun = time.monotonic()
        sent = await self.fleet.telemetry(self.rate_per_s, self.seconds)
        stored = -1
        while stored != (stored := self.rows(TelemetryRow)):  # until there is no more of it: QoS 0 may lose some
            took_s = time.monotonic() - begun
            await asyncio.sleep(0.5)
        self.results["telemetry"] = {"sent": sent, "stored": stored, "stored_per_s": stored / took_s, "seconds": took_s}

    async def roll_out(self) -> None:
        rollouts = Rollouts(self.database, self.orders)
        shares = tuple(number / WAVES for number in range(1, WAVES + 1))
        plan = RolloutPlan(canary=0, shares=shares, device_timeout_s=SILENT_S, max_failed_share=0.2, min_succeeded_share=0.9)
        begun = time.monotonic()
        identity = rollouts.start("model", order_of("d-1"), Selector(), plan, "bench", time.time())
        view = rollouts.view(identity, time.time())
        is_killed = False
        while not view.is_over and time.monotonic() - begun < 900:
            if not is_killed and view.wave >= WAVES // 2 and view.waves[view.wave].released > 0:
                self.controller.kill()  # in the middle of a wave
                is_killed, killed_s = True, time.monotonic()
                self.controller.start()
                self.results["restart_s"] = time.monotonic() - killed_s
            await asyncio.sleep(0.5)
            self.controller.look()
            if view.state == "PAUSED":
                raise SystemExit(f"the rollout was stopped: {view.reason}")
            view = rollouts.view(identity, time.time())
        self.results["rollout_s"] = time.monotonic() - begun
        self.judge(view, rollouts)

    def judge(self, view: RolloutView, rollouts: Rollouts) -> None:
        """Whether every device ended as it had to, nothing twice, nothing lost."""
        states: dict[str, str | None] = {}
        while page := rollouts.members(view.rollout, after_device=max(states, default="")):
            states.update({member.device: member.state for member in page})
        wanted = {"well": "SUCCEEDED", "fails": "FAILED", "silent": None}
        wrong = [name for name, state in states.items() if state != wanted[behaviour(name)]]
        running = [device for device in self.fleet.devices if (device.running is not None) == (device.behaviour == "well")]
        counts = self.fleet.counts
        self.results |= {
            "state": view.state,
            "waves": [[wave.size, wave.succeeded, wave.failed, wave.silent] for wave in view.waves],
            "judgement": view.waves[-1].judgement.verdict if view.waves[-1].judgement else None,
            "kinds": Counter(behaviour(name) for name in states),
            "wrong_states": len(wrong),
            "wrong_on_devices": len(self.fleet.devices) - len(running),
            "twice": sum(number > 1 for number in counts.effects.values()),
            "events_said": counts.said["event"],
            "events_stored": self.rows(EventRow),
            "goals_heard": counts.goals,
        }


def measure_accepted(broker: str) -> dict[str, Any]:
    """From the order's commit to ACCEPTED in the controller's database, with a real agent and ``fleet serve``."""
    with Rig(broker) as rig:  # type: ignore[arg-type] # one of the choices
        controller = Controller(rig.paths, rig.broker.port, rig.password, rig.folder / "controller.log")
        try:
            controller.start()
            reports, seconds = Reports(rig.database), []
            for number in range(ORDERS):
                order, begun = order_of(f"d-{number}", b"not a model %d" % number), time.monotonic()
                rig.orders.deploy("model", order, [], time.time())
                while not any(event.state == "ACCEPTED" for _, event in reports.events(order.deployment)):
                    if time.monotonic() - begun > READY_S:
                        raise SystemExit("no agent accepted the order")
                    time.sleep(0.01)
                seconds.append(time.monotonic() - begun)
                while not reports.deployment(order.deployment).devices[0].is_over:
                    time.sleep(0.05)
        finally:
            controller.stop()
    return {"accepted_s": sorted(seconds), "worst_s": max(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["scale", "accepted", "controllers", "broadcast", "all"], default="all")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=3500.0, help="telemetry messages per second in all")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long telemetry is sent")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    exit_on_sigterm()
    results: dict[str, Any] = {"conditions": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}}
    if options.part in {"scale", "all"}:
        with ExitStack() as stack:
            results["scale"] = Scale(options.devices, options.rate, options.seconds, stack).run()
    if options.part in {"accepted", "all"}:
        results["accepted"] = measure_accepted("auto")
    if options.part in {"controllers", "all"}:
        with ExitStack() as stack:
            results["controllers"] = Sharing(min(options.devices, 1000), stack).run()
    if options.part in {"broadcast", "all"}:
        with ExitStack() as stack:
            results["broadcast"] = Broadcasting(stack).run()
    print(json.dumps(results, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
