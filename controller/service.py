"""The serving process: publishes goals, conducts rollouts and serves chunks by one connection, and has what devices say recorded by another.

Several processes may serve one fleet: `leases` says what of it this one does. Threads: paho's (only enqueue), the chunk server's, and the
caller's, which owns the database.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..core.errors import EdgewrightError, Reason
from ..core.wire.link import Link, LinkOptions
from ..core.wire.topics import RETAINED, Channel, fleet_filter, qos_of, topic
from .blobs import BlobStore
from .chunks import ChunkServer
from .conductor import Conductor
from .demand import Demand
from .hearing import Hearing
from .in_flight import InFlight
from .leases import Shares, Sharing
from .orders import Addressed, Orders
from .recorder import Recorder
from .signing import Signing

log = logging.getLogger(__name__)

CONDUCT_S = 0.5
RENEW_POLL_S = 600.0
RETRY_S = 5.0
MAX_IN_FLIGHT = 64
ROOM_S = 5.0
HANDED_OVER_AT_ONCE = 200


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
    sharing: Sharing
    demand: Demand


class Service:
    """Two connections and their work. `start`, `run` and `close` belong to one thread."""

    def __init__(self, parts: Parts, options: LinkOptions) -> None:
        self._parts = parts
        self._in_flight = InFlight(MAX_IN_FLIGHT)
        self._announce = threading.Event()
        self._problem: Reason | None = None
        self._mark: int | None = None
        self._look_s = self._pause_s = self._conduct_s = 0.0
        self._shares = Shares("", (), frozenset())
        self._hearing = Hearing(parts.fleet, parts.recorder, replace(options, keeps_session=True))
        own = replace(options, client_id=f"{options.client_id}_{uuid.uuid4().hex[:12]}")
        self._link = Link(own, self, [(fleet_filter(parts.fleet, "get"), qos_of("get"))])
        send_frame = functools.partial(self._send, qos=qos_of("blob"))
        self._chunks = ChunkServer(parts.fleet, parts.blobs, send_frame, self._is_mine, parts.demand.of)

    @property
    def is_up(self) -> bool:
        return self._link.is_connected and (self._hearing.is_up or not self._hearing.is_open)

    @property
    def problem(self) -> Reason | None:
        return self._problem or self._hearing.problem

    def start(self) -> None:
        """Connect in the background.

        Raises:
            Rejected: ``broker-address-invalid``.
            Faulty: ``database-failed``.
        """
        self._parts.sharing.start()
        self._share()
        self._link.start()
        self._chunks.start()

    def run(self, until: Callable[[], bool]) -> None:
        """Work until `until` says so, which is asked several times a second; blocks."""
        while not until():
            self._hearing.drain()
            if time.monotonic() >= self._pause_s:
                self._turn()

    def close(self) -> None:
        """Disconnect and end the threads; after `run`."""
        self._hearing.close()
        self._link.stop()
        self._chunks.stop()
        self._parts.sharing.give_up()

    def _turn(self) -> None:
        """Whatever is due. What fails is tried again later: a full disk passes, and devices need the rest of us meanwhile."""
        is_new = False
        try:
            self._share()
            if not self._link.is_connected or "conduct" not in self._shares.desks:
                return
            is_new = self._announce.is_set()
            self._announce.clear()
            if is_new:
                self._announce_all()
            self._conduct()
            self._publish_changes()
        except EdgewrightError as error:
            log.error("%s", error.reason.line())  # noqa: TRY400 - the reason is the message
            self._come_back(announce=is_new)

    def _share(self) -> None:
        """Take what is ours by now, and leave what no longer is."""
        before, self._shares = self._shares, self._parts.sharing.look()
        if "record" in self._shares.desks and not self._hearing.is_open:
            self._hearing.open()
        elif "record" not in self._shares.desks and self._hearing.is_open:
            self._hearing.leave()
        if "conduct" in self._shares.desks and "conduct" not in before.desks:
            # Who conducted before may have died between signing and sending.
            self._mark = None
            self._parts.orders.send_commands_again()

    def _is_mine(self, digest: str) -> bool:
        return self._shares.is_mine(digest)

    def _come_back(self, *, announce: bool) -> None:
        self._mark, self._pause_s = None, time.monotonic() + RETRY_S
        if announce:
            self._announce.set()

    def _announce_all(self) -> None:
        """After a connect: the broker may have lost everything."""
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

    # --- LinkHandler, on paho's thread ---

    def link_up(self) -> None:
        self._announce.set()
        self._hearing.wake()

    def link_down(self, reason: str) -> None:
        self._in_flight.reset()
        log.warning("The connection to the broker ended: %s", reason)

    def link_message(self, topic: str, payload: bytes) -> None:
        if not self._chunks.ask(topic, payload):
            log.warning("Dropped a request on %s: too long, or too many wait", topic)

    def link_published(self, message_id: int) -> None:
        self._in_flight.leave()

    def link_problem(self, reason: Reason) -> None:
        self._problem = reason
        log.error("%s", reason.line())
        self._hearing.wake()
