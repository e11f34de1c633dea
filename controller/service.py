"""The serving process: one connection to the broker, that publishes goals, records what devices say, and serves chunks.

Threads: paho's (only enqueues), the chunk server's, and the caller's, which owns the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.errors import EdgewrightError, Reason
from ..core.wire.link import Link, LinkOptions
from ..core.wire.messages import Capabilities, Event, Message, ProfilePart, Reply, Reported, Status, Telemetry, decode
from ..core.wire.topics import FROM_DEVICE, RETAINED, Channel, fleet_filter, parse_topic, qos_of, topic
from .backlog import Backlog
from .blobs import BlobStore
from .chunks import ChunkServer
from .conductor import Conductor
from .in_flight import InFlight
from .orders import Addressed, Orders
from .recorder import Recorder
from .signing import Signing

log = logging.getLogger(__name__)

POLL_S = 0.25
CONDUCT_S = 0.5
RENEW_POLL_S = 600.0
RETRY_S = 5.0
DRAIN_COUNT = 1000
# After a connect every device's status, capabilities and report come at once.
MAX_WAITING = 100_000
MAX_WAITING_BYTES = 128 << 20
MAX_RESYNC_S = 600.0
MAX_IN_FLIGHT = 64
ROOM_S = 5.0
HANDED_OVER_AT_ONCE = 200
KINDS: dict[Channel, type[Message]] = {
    "status": Status,
    "capabilities": Capabilities,
    "reported": Reported,
    "event": Event,
    "telemetry": Telemetry,
    "reply": Reply,
    "profile": ProfilePart,
}
LINK_LOST = ""  # stands among the messages where a topic would


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service works with; the command line puts it together."""

    fleet: str
    orders: Orders
    conductor: Conductor
    recorder: Recorder
    blobs: BlobStore
    signing: Signing
    change_mark: Callable[[], int]


class Service:
    """One connection and its work. `start`, `run` and `close` belong to one thread."""

    def __init__(self, parts: Parts, options: LinkOptions) -> None:
        self._parts = parts
        self._messages = Backlog(MAX_WAITING, MAX_WAITING_BYTES)
        self._in_flight = InFlight(MAX_IN_FLIGHT)
        self._announce = threading.Event()
        self._overflowed = threading.Event()
        self.problem: Reason | None = None
        self._mark: int | None = None
        self._resync_pause_s = RETRY_S
        self._look_s = self._pause_s = self._resync_s = self._conduct_s = 0.0
        subscriptions = [(fleet_filter(parts.fleet, channel), qos_of(channel)) for channel in FROM_DEVICE]
        self._link = Link(options, self, subscriptions)
        self._chunks = ChunkServer(parts.blobs, lambda name, frame: self._send(name, frame, qos=qos_of("blob")))

    @property
    def is_up(self) -> bool:
        return self._link.is_connected

    def start(self) -> None:
        """Connect in the background.

        Raises:
            Rejected: ``broker-address-invalid``.
            Faulty: ``database-failed``.
        """
        self._parts.recorder.forget_presence()
        self._link.start()
        self._chunks.start()

    def run(self, until: Callable[[], bool]) -> None:
        """Work until `until` says so, which is asked several times a second; blocks."""
        while not until():
            self._drain()
            if self._link.is_connected and time.monotonic() >= self._pause_s:
                self._turn()

    def close(self) -> None:
        """Disconnect and end the threads; after `run`."""
        self._messages.close()
        self._link.stop()
        self._chunks.stop()

    def _turn(self) -> None:
        """Whatever is due. What fails is tried again later: a full disk passes, and devices need the rest of us meanwhile."""
        is_new, has_gap = self._announce.is_set(), self._overflowed.is_set() and time.monotonic() >= self._resync_s
        self._announce.clear()
        try:
            if is_new:
                self._announce_all()
            elif has_gap:
                self._overflowed.clear()
                # What did not fit may not fit the next time either: asking for it again and again would keep everything else out.
                self._resync_s = time.monotonic() + self._resync_pause_s
                self._resync_pause_s = min(2 * self._resync_pause_s, MAX_RESYNC_S)
                self._link.subscribe_again()
            self._conduct()
            self._publish_changes()
        except EdgewrightError as error:
            log.error("%s", error.reason.line())  # noqa: TRY400 - the reason is the message
            self._come_back(announce=is_new)

    def _come_back(self, *, announce: bool) -> None:
        self._mark, self._pause_s = None, time.monotonic() + RETRY_S
        if announce:
            self._announce.set()

    def _announce_all(self) -> None:
        """After a connect: the broker may have lost everything."""
        self._resync_pause_s = RETRY_S
        self._parts.orders.send_commands_again()
        self._publish("desired", self._parts.orders.all_desired(time.time()))
        self._mark = None

    def _conduct(self) -> None:
        """Rollouts go on as devices answer and as time passes: looked at twice a second, and at once while there is more to do."""
        if time.monotonic() < self._conduct_s:
            return
        is_moving = self._parts.conductor.turn(time.time())
        self._conduct_s = time.monotonic() + (0.0 if is_moving else CONDUCT_S)
        if is_moving:
            self._mark = None

    def _publish_changes(self) -> None:
        if self._parts.signing.has_changed():
            self._parts.orders.sign_all_anew()
            self._mark = None
        self._publish("desired", self._parts.orders.left_unsent(time.time()))
        mark = self._parts.change_mark()
        if mark == self._mark and time.monotonic() < self._look_s:
            return
        orders, signing, now_s = self._parts.orders, self._parts.signing, time.time()
        goals = orders.sign_changed_goals(signing.sign, now_s, metadata=signing.metadata)
        commands = orders.sign_commands(signing.sign, now_s)
        # Some were found: there may be more.
        self._mark, self._look_s = mark, time.monotonic() + (0.0 if goals or commands else RENEW_POLL_S)
        self._publish("desired", goals)
        self._publish("command", commands)

    def _publish(self, channel: Channel, messages: Iterable[Addressed]) -> None:
        sent: list[str] = []
        for device, payload in messages:
            if not self._send(topic(self._parts.fleet, device, channel), payload, qos=qos_of(channel), retain=channel in RETAINED):
                self._come_back(announce=True)
                break
            sent.append(device)
            if channel == "desired" and len(sent) == HANDED_OVER_AT_ONCE:
                self._parts.orders.handed_over(sent)
                sent = []
        if sent and channel == "desired":
            self._parts.orders.handed_over(sent)

    def _send(self, name: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Hand one message over, when the broker has taken enough of the earlier ones. Any thread."""
        if not self._in_flight.enter(ROOM_S):
            return False
        if self._link.publish(name, payload, qos=qos, retain=retain) is None:
            self._in_flight.leave()
            return False
        return True

    def _drain(self) -> None:
        """Record what has come, some of it, in one transaction; waits for the first message only."""
        batch: list[Message] = []
        for arrival in self._messages.take(DRAIN_COUNT, POLL_S):
            if arrival.topic == LINK_LOST:
                self._write(batch)
                batch = []
                self._guarded(self._parts.recorder.forget_presence)
            elif (message := self._parsed(arrival.topic, arrival.payload)) is not None:
                batch.append(message)
        self._write(batch)

    def _write(self, batch: list[Message]) -> None:
        if batch:
            self._guarded(lambda: self._parts.recorder.record_all(batch, time.time()))

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except EdgewrightError as error:
            log.error("What devices said was not recorded: %s", error.reason.line())  # noqa: TRY400 - the reason is the message
            self._overflowed.set()  # ours to mend: what is retained can be had again

    def _parsed(self, name: str, payload: bytes) -> Message | None:
        """The message, or None when it is not one that a device may send on this topic."""
        address = parse_topic(name)
        kind = None if address is None else KINDS.get(address.channel)
        if address is None or kind is None or not payload:
            return None
        try:
            message = decode(payload, kind)
        except EdgewrightError as error:
            log.warning("Dropped a message on %s: %s", name, error.reason.line())
            return None
        # The broker's rules bind the topic to the device's login: a message in another's name is a lie.
        if (getattr(message, "fleet", None), getattr(message, "device", None)) != (address.fleet, address.device):
            log.warning("Dropped a %s on %s that names another device", address.channel, name)
            return None
        return message

    # --- LinkHandler, on paho's thread ---

    def link_up(self) -> None:
        self._announce.set()
        self._messages.wake()

    def link_down(self, reason: str) -> None:
        self._in_flight.reset()
        self._messages.put(LINK_LOST, b"")  # in order: what comes after it is of the next connection
        log.warning("The connection to the broker ended: %s", reason)

    def link_message(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/get"):
            if not self._chunks.ask(topic, payload):
                log.warning("Dropped a request on %s: too long, or too many wait", topic)
        elif not self._messages.put(topic, payload):
            log.warning("Dropped a message on %s: too many wait", topic)
            self._overflowed.set()

    def link_published(self, message_id: int) -> None:
        self._in_flight.leave()

    def link_problem(self, reason: Reason) -> None:
        self.problem = reason
        log.error("%s", reason.line())
        self._messages.wake()
