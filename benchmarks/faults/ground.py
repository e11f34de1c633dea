"""The ground under one agent: a broker, the chunk server of the real controller, its goals and commands, and everything that the agent says.

The agent is a real process (`board`), which may be dead at any time: whoever waits here has it started again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgewright.agent.control import ControlRequest, ask_agent
from edgewright.controller.access import CONTROLLER_USER
from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker import OwnBroker
from edgewright.controller.chunks import ChunkServer
from edgewright.controller.passwords import set_password
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import EdgewrightError
from edgewright.core.profile import ProfileOrder
from edgewright.core.trust import seal
from edgewright.core.wire.frames import decode_frame
from edgewright.core.wire.link import Link, LinkOptions
from edgewright.core.wire.messages import Command, Desired, Event, Order, ProfilePart, Reply, decode, encode
from edgewright.core.wire.topics import topic

from .engines import KEYS, RUNTIME, WORKER, prepare_engines

FLEET, DEVICE, MODEL = "ground", "board", "surface"
PASSWORD = "ground"
WAIT_S = 30.0
COMMAND_AGAIN_S = 0.5
WATCHDOG_S = 40.0
T = TypeVar("T")

CONFIG = """
fleet = "{fleet}"
device = "{device}"
[broker]
host = "127.0.0.1"
port = {port}
username = "{device}"
password_file = "password"
{broker}
[paths]
state = "state"
socket = "agent.sock"
trust = "trust"
[limits]
min_free_bytes = 0
chunk_timeout_s = {chunk_timeout_s}
[telemetry]
interval_s = {telemetry_s}
{extra}
"""

QUICK = "reconnect_min_s = 0.05\nreconnect_max_s = 0.2"


class Ground:
    """A context manager. `port` is where its device looks for the broker; `broker` more lines of that section. `folder` should be on a tmpfs: what
    a killed process has written stays, whatever is synced.
    """

    def __init__(self, folder: Path, broker: str = QUICK, chunk_timeout_s: float = 1.0, telemetry_s: float = 0.0, notify: str = "") -> None:
        self.folder = folder
        self.device = folder / "device"
        self.logs = self.device  # of the points that were passed, and of what the agent said
        self.state = self.device / "state"
        self.engines = folder / "engines"
        self.engines.mkdir(parents=True)
        prepare_engines(self.engines)
        paths = FleetPaths(folder / "fleet")
        paths.make()
        for user in (CONTROLLER_USER, DEVICE):
            set_password(paths.passwords, user, PASSWORD)
        self.broker = OwnBroker(paths, FLEET)
        self.blobs = BlobStore(paths.blobs)
        self._broker = broker
        self._chunk_timeout_s = chunk_timeout_s
        self._telemetry_s = telemetry_s
        # Where systemd would listen; its watchdog then has the unit's limit.
        self._supervised = {"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))} if notify else {}
        self._changed = threading.Condition()
        self._sequence = 0
        # How a life may end before another is started: systemd starts an agent again whatever it ended with.
        self.expected_ends = {-signal.SIGKILL}
        self.forget()

    def forget(self) -> None:
        """What was heard of an earlier run."""
        self.events: dict[str, Event] = {}
        self.contradictions: list[str] = []
        self.replies: dict[str, Reply] = {}
        self.profiles: dict[str, ProfilePart] = {}
        self.served: Counter[tuple[str, int]] = Counter()
        self.is_holding = False
        self.held_digest = ""
        self.wanted: tuple[Order, ...] = ()
        self._goal = b""
        self.lives: list[int] = []
        self.statuses: dict[int, int] = {}

    def __enter__(self) -> Ground:  # noqa: PYI034 - Self is not in Python 3.10's typing
        self.broker.start()
        self.port = self.broker.port
        options = LinkOptions(
            host="127.0.0.1",
            port=self.broker.port,
            client_id="controller",
            username=CONTROLLER_USER,
            password=PASSWORD,
            reconnect_min_s=0.05,
            reconnect_max_s=0.2,
        )
        self._up = threading.Event()
        self._link = Link(options, self, [(topic(FLEET, DEVICE, channel), 1) for channel in ("get", "event", "reply", "telemetry", "profile")])
        self.chunks = ChunkServer(FLEET, self.blobs, self._serve, lambda _digest: True, lambda _digest: 1)
        self.chunks.start()
        self._link.start()
        assert self._up.wait(WAIT_S)
        self._template = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("board.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"EDGEWRIGHT_ENGINES": str(self.engines), "PYTHONSAFEPATH": ""} | self._supervised,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.lives:
            if pid not in self.statuses:
                os.kill(pid, signal.SIGKILL)
        assert self._template.stdin is not None
        self._template.stdin.close()
        self._template.wait(WAIT_S)
        self._reader.join(WAIT_S)
        if self._template.stdout is not None:
            self._template.stdout.close()
        self.chunks.stop()
        self._link.stop()
        self.broker.stop()

    # --- the agent ---

    def fresh(self, base: Path | None = None, extra: str = "", runtime: str = "1") -> None:
        """A new device on a copy of `base`, nothing heard, nothing retained. `runtime` is the version of what it builds engines with."""
        self.forget()
        (self.engines / RUNTIME).write_text(runtime, "utf-8")
        for channel in ("desired", "reported", "status", "capabilities"):
            self._publish(channel, b"", retain=True)
        shutil.rmtree(self.device, ignore_errors=True)
        self.device.mkdir(parents=True, exist_ok=True)  # what is a file system of its own stays
        if base is not None:
            shutil.copytree(base, self.state, symlinks=True)
        else:
            self.state.mkdir(exist_ok=True)
            for key in KEYS:
                shutil.copy2(self.engines / "identity" / key, self.state / key)
        (self.device / "password").write_text(PASSWORD, "utf-8")
        config = CONFIG.format(
            fleet=FLEET,
            device=DEVICE,
            port=self.port,
            broker=self._broker,
            extra=extra,
            chunk_timeout_s=self._chunk_timeout_s,
            telemetry_s=self._telemetry_s,
        )
        (self.device / "agent.toml").write_text(config, "utf-8")

    def start(self, target: str | None = None) -> None:
        """Start a life, which ends at `target`."""
        wanted = {
            "config": str(self.device / "agent.toml"),
            "state": str(self.state),
            "points": str(self.logs / f"points-{len(self.lives)}"),
            "target": target,
            "worker": str(self.engines / WORKER),
            "log": str(self.logs / "log"),
        }
        lives = len(self.lives)
        assert self._template.stdin is not None
        self._template.stdin.write(json.dumps(wanted).encode() + b"\n")
        self._template.stdin.flush()
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lives) > lives, WAIT_S), "the template has died"

    @property
    def is_dead(self) -> bool:
        return self.lives[-1] in self.statuses

    def until(self, look: Callable[[], T], what: str, wait_s: float = WAIT_S) -> T:
        """What `look` finds, at last. An agent that was killed meanwhile is started again.

        Raises:
            AssertionError: it never did; the agent's last words are in it.
        """
        deadline_s = time.monotonic() + wait_s
        while True:
            found = look()
            if found:
                return found
            if self.is_dead:
                status = self.statuses[self.lives[-1]]
                assert status in self.expected_ends, f"the agent ended with {status}: {self.last_words()}"
                self.at_death()
                self.start()
            assert time.monotonic() < deadline_s, f"waited in vain for {what}: {self.last_words()}"
            with self._changed:
                self._changed.wait(0.01)

    def at_death(self) -> None:
        """For whoever wants to look at the disk between two lives."""

    def ask(self, verb: Any, name: str = "") -> Any:
        """None while nobody answers."""
        try:
            return ask_agent(self.device / "agent.sock", ControlRequest(verb, name))
        except (EdgewrightError, OSError):
            return None

    def is_at_rest(self) -> bool:
        status = self.ask("status")
        return bool(status and status["connected"] and status["events_waiting"] == 0 and self.ask("jobs") == [])

    def stop(self) -> int:
        """Ask it to end; its status."""
        pid = self.lives[-1]
        if pid not in self.statuses:
            os.kill(pid, signal.SIGTERM)
        return self.wait_for_end()

    def wait_for_end(self) -> int:
        """Until it ends by itself; its status."""
        pid = self.lives[-1]
        with self._changed:
            assert self._changed.wait_for(lambda: pid in self.statuses, WAIT_S), f"it does not end: {self.last_words()}"
        return self.statuses[pid]

    def last_words(self) -> str:
        """What the agent and those who hear it say, for a report of what went wrong."""
        status = self.ask("status") or {}
        waiting = {key: status.get(key) for key in ("connected", "events_waiting", "problems")}
        told = {name: self.states(name)[-1:] for name in sorted({event.deployment for event in self.events.values()})}
        try:
            log = " | ".join((self.logs / "log").read_text("utf-8", "replace").splitlines()[-4:])
        except OSError:
            log = "no log"
        return f"{waiting}, jobs {self.ask('jobs')}, told {told}; {log}"

    def passed(self) -> list[list[str]]:
        """The points of each life, in order."""
        return [(self.logs / f"points-{life}").read_text().splitlines() for life in range(len(self.lives))]

    def _read(self) -> None:
        assert self._template.stdout is not None
        for line in self._template.stdout:
            message = json.loads(line)
            with self._changed:
                if "started" in message:
                    self.statuses.pop(message["started"], None)  # process ids come again, in long runs
                    self.lives.append(message["started"])
                else:
                    self.statuses[message["ended"]] = message["status"]
                self._changed.notify_all()

    # --- the fleet's side ---

    @property
    def is_up(self) -> bool:
        return self._link.is_connected

    def say(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        self._link.publish(name, payload, qos=1, retain=retain)

    def want_again(self) -> None:
        """The goal, newly signed: a controller's announcement after a connect."""
        self.want(*self.wanted)

    def want(self, *orders: Order) -> None:
        """The whole goal, retained."""
        self.wanted = orders
        self._sequence += 1
        assert len(orders) <= 1
        models = dict(zip((MODEL,), orders, strict=False))
        now_s = time.time()
        goal = Desired(fleet=FLEET, device=DEVICE, sequence=self._sequence, issued_s=now_s, expires_s=now_s + 86400, models=models)
        self._goal = encode(seal(goal, lambda _: ("key", "00")))
        self._publish("desired", self._goal, retain=True)

    def command(self, verb: Any, deployment: str | None = None, profile: ProfileOrder | None = None) -> Reply:
        """As the controller does: sent again, newly signed, until it is answered."""
        identity = f"c{self._sequence + 1}"
        sent_s = 0.0

        def look() -> Reply | None:
            nonlocal sent_s
            if time.monotonic() - sent_s > COMMAND_AGAIN_S:
                sent_s = time.monotonic()
                self._sequence += 1
                now_s = time.time()
                message = Command(
                    fleet=FLEET, device=DEVICE, sequence=self._sequence, issued_s=now_s, expires_s=now_s + 86400, id=identity, verb=verb,
                    deployment=deployment, model=MODEL, profile=profile,
                )  # fmt: skip
                self._publish("command", encode(seal(message, lambda _: ("key", "00"))))
            return self.replies.get(identity)

        return self.until(look, f"the answer to {verb}")  # type: ignore[return-value]

    def hold(self, digest: str) -> None:
        """Serve no chunk of this blob from now on."""
        self.held_digest = digest

    def release(self) -> None:
        self.held_digest = ""

    def states(self, deployment: str) -> list[str]:
        """What was told of it, each event once, in the order of their numbers."""
        events = sorted(self.events.values(), key=lambda event: event.sequence)
        return [event.state for event in events if event.deployment == deployment]

    def _serve(self, name: str, frame: bytes) -> bool:
        parsed = decode_frame(frame)
        if parsed.digest != self.held_digest:
            self.served[parsed.digest, parsed.index] += 1
            self._link.publish(name, frame, qos=0)
        return True

    def _publish(self, channel: Any, payload: bytes, *, retain: bool = False) -> None:
        self._link.publish(topic(FLEET, DEVICE, channel), payload, qos=1, retain=retain)

    # --- LinkHandler ---

    def link_up(self) -> None:
        """A broker may have lost everything: the goal is announced again, as a controller does."""
        self._up.set()
        if self._goal:
            self._publish("desired", self._goal, retain=True)

    def link_down(self, reason: str) -> None:
        self._up.clear()

    def link_message(self, topic: str, payload: bytes) -> None:
        channel = topic.rpartition("/")[2]
        if channel == "get":
            self.chunks.ask(topic, payload)
            return
        with self._changed:
            if channel == "event":
                event = decode(payload, Event)
                if self.events.setdefault(event.id, event) != event:
                    self.contradictions.append(event.id)
            elif channel == "reply":
                reply = decode(payload, Reply)
                self.replies[reply.id] = reply
            elif channel == "profile":
                part = decode(payload, ProfilePart)
                self.profiles[part.command] = part
            self._changed.notify_all()

    def link_published(self, message_id: int) -> None: ...

    def link_problem(self, reason: Any) -> None: ...
