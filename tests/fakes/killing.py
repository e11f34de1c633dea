"""A fleet of real processes on loopback that can be killed one by one: its own broker, the controller and agents; and somebody who listens."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from edgewright.agent.control import ControlRequest, ask_agent
from edgewright.cli.demo.loopback import FLEET, LoopbackFleet
from edgewright.controller.access import CONTROLLER_USER
from edgewright.controller.broker import OwnBroker
from edgewright.controller.enrollment import Address, controller_password, enroll
from edgewright.controller.orders import new_deployment_id
from edgewright.controller.packing import MODEL_NAME, pack_dataset, pack_model
from edgewright.core.errors import EdgewrightError
from edgewright.core.wire.frames import decode_frame
from edgewright.core.wire.link import Link, LinkOptions
from edgewright.core.wire.messages import Event, Get, Order, decode

WAIT_S = 60.0
POLL_S = 0.02
T = TypeVar("T")

SETTINGS = """
[optimize]
bench_seconds = 0.2
[telemetry]
interval_s = 0
[broker]
reconnect_min_s = 0.1
reconnect_max_s = 1.0
"""


def until(look: Callable[[], T | None], what: str) -> T:
    """What `look` finds, at last."""
    pause, deadline = threading.Event(), time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(POLL_S)
    return found


class Listener:
    """Hears all requests, chunks and events of the fleet, as the broker carries them."""

    def __init__(self, options: LinkOptions) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.served: Counter[tuple[str, int]] = Counter()
        self.events: list[Event] = []
        self.on_get: Callable[[], None] = lambda: None
        self.up = threading.Event()
        channels: list[Literal["get", "blob", "event"]] = ["get", "blob", "event"]
        self._link = Link(options, self, [(f"ew/v1/{FLEET}/+/{channel}", 0) for channel in channels])
        self._link.start()
        assert self.up.wait(WAIT_S)

    def stop(self) -> None:
        self._link.stop()

    def link_up(self) -> None:
        self.up.set()

    def link_down(self, reason: str) -> None:
        self.up.clear()

    def link_message(self, topic: str, payload: bytes) -> None:
        channel = topic.rpartition("/")[2]
        if channel == "get":
            get = decode(payload, Get)
            self.asked.update((get.digest, index) for first, last in get.ranges for index in range(first, last + 1))
            self.on_get()
        elif channel == "blob":
            frame = decode_frame(payload)
            self.served[frame.digest, frame.index] += 1
        else:
            self.events.append(decode(payload, Event))

    def link_published(self, message_id: int) -> None: ...

    def link_problem(self, reason: Any) -> None: ...


class Board:
    """One enrolled device, and its agent's process."""

    def __init__(self, fleet: KillableFleet, name: str, settings: str) -> None:
        self.fleet, self.name = fleet, name
        self.folder = fleet.folder / name
        self.state = self.folder / "state"
        loopback = fleet.loopback
        enroll(loopback.paths, loopback.orders, FLEET, name, self.folder, Address("127.0.0.1", fleet.broker.port), self.state)
        fleet.broker.refresh()
        config = self.folder / "agent.toml"
        written = config.read_text("utf-8")
        config.write_text(written.replace("[broker]\n", SETTINGS) + settings, "utf-8")
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        self.process = self.fleet.loopback.processes.start(self.name, "agent", "run", "--config", str(self.folder / "agent.toml"))
        until(self._is_connected, f"{self.name} to connect")

    def _is_connected(self) -> bool:
        assert self.process.poll() is None, self.fleet.loopback.processes.last_words(self.name)
        try:
            return bool(self.ask("status")["connected"])
        except EdgewrightError:
            return False

    def ask(self, verb: Any, name: str = "") -> Any:
        return ask_agent(self.state / "agent.sock", ControlRequest(verb, name))

    def job(self) -> dict[str, Any]:
        jobs = self.ask("jobs")
        return jobs[0] if jobs else {}

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def deploy(self, model: Path, calibration: Path | None = None, **fields: Any) -> Order:
        loopback = self.fleet.loopback
        order = Order(
            deployment=new_deployment_id(self.name),
            version="1",
            model=pack_model(loopback.blobs, model),
            model_file=MODEL_NAME,
            calibration=None if calibration is None else pack_dataset(loopback.blobs, calibration, model),
            recipe="none" if calibration is None else "int8",
            **({"probation_s": 0.2} | fields),
        )
        loopback.orders.deploy("model", order, [self.name], time.time())
        return order

    def wait_for_end(self, order: Order) -> Any:
        def look() -> Any:
            (target,) = self.fleet.loopback.reports.deployment(order.deployment).devices
            return target if target.is_over else None

        return until(look, f"the end of {order.deployment}")

    def told(self, order: Order) -> list[str]:
        """The states that the controller recorded, in the order in which they happened."""
        events = [event for _, event in self.fleet.loopback.reports.events(order.deployment)]
        return [event.state for event in sorted(events, key=lambda event: event.sequence)]

    def current(self) -> str | None:
        link = self.state / "models" / "model" / "current"
        return link.resolve(strict=True).name if link.is_symlink() else None


class KillableFleet:
    """A broker of our own, a controller on it, and a listener. A context manager."""

    def __init__(self, folder: Path, kind: Literal["mosquitto", "amqtt"]) -> None:
        self.folder = folder
        self.loopback = LoopbackFleet(folder)
        password = controller_password(self.loopback.paths)
        self.broker = OwnBroker(self.loopback.paths, FLEET, kind)
        self.broker.start()
        self._url = f"mqtt://{CONTROLLER_USER}:{quote(password, safe='')}@127.0.0.1:{self.broker.port}"
        self.serve()
        options = LinkOptions(
            host="127.0.0.1",
            port=self.broker.port,
            client_id="listener",
            username=CONTROLLER_USER,
            password=password,
            reconnect_min_s=0.05,
            reconnect_max_s=0.2,
        )
        self.listener = Listener(options)

    def __enter__(self) -> KillableFleet:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.resume()
        self.listener.stop()
        self.loopback.__exit__(*exc)
        self.broker.stop()

    def board(self, name: str, settings: str = "") -> Board:
        return Board(self, name, settings)

    def serve(self) -> None:
        """Start the controller."""
        self.loopback.serve(self._url)
        self.controller = self.loopback.processes._running[-1][1]

    def pause(self) -> None:
        """Stop the controller where it is: chunks that were asked for do not come."""
        os.kill(self.controller.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.controller.pid, signal.SIGCONT)

    def kill_broker(self) -> None:
        """The broker dies without a word, and another one takes its place at the same port."""
        port = self.broker.port
        process = self.broker._process
        assert process is not None
        process.kill()
        process.wait()
        self.broker._wanted_port = port
        self.broker.start()
