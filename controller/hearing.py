"""Hears what devices say and has it recorded: a connection of its own, held by the process at the desk ``record``.

Rules:
- the broker keeps the session, and a message counts as received when it has been committed: who is killed loses none of QoS 1. Its successor
  connects under the same name and is sent whatever waited. A broker that keeps nothing is asked for all that it retains, as always;
- so a broker sends no more than its window of unacknowledged messages ahead, however many devices announce themselves at once;
- a batch that cannot be written is tried again; when the database takes others, what is wrong with a message is its own, and it is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from ..core.errors import EdgewrightError, Reason
from ..core.wire.link import Link, LinkOptions, Receipt
from ..core.wire.messages import Capabilities, Event, Message, ProfilePart, Reply, Reported, Status, Telemetry, decode
from ..core.wire.topics import Channel, fleet_filter, parse_topic, qos_of
from .backlog import Arrival, Backlog
from .recorder import Recorder

log = logging.getLogger(__name__)

POLL_S = 0.25
RETRY_S = 5.0
TRIES = 3
DRAIN_COUNT = 1000
# Only what is sent by QoS 0 can be that much.
MAX_WAITING = 100_000
MAX_WAITING_BYTES = 128 << 20
MAX_RESYNC_S = 600.0
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


@dataclass(slots=True)
class _Batch:
    """Arrivals that are written down together, and the messages in them."""

    arrivals: list[Arrival]
    messages: list[Message]
    tries: int = 0


class Hearing:
    """`open`, `drain` and `close` belong to one thread. `MAX_WAITING` messages wait at most, for that thread."""

    def __init__(self, fleet: str, recorder: Recorder, options: LinkOptions) -> None:
        self._fleet = fleet
        self._recorder = recorder
        self._options = options
        self._messages = Backlog(MAX_WAITING, MAX_WAITING_BYTES)
        self._unwritten: deque[_Batch] = deque()
        self._overflowed = threading.Event()
        self._idle = threading.Event()
        self._resync_pause_s = RETRY_S
        self._resync_s = self._pause_s = 0.0
        self._link: Link | None = None
        self.problem: Reason | None = None

    @property
    def is_open(self) -> bool:
        return self._link is not None

    @property
    def is_up(self) -> bool:
        return self._link is not None and self._link.is_connected

    def open(self) -> None:
        """Connect in the background.

        Raises:
            Rejected: ``broker-address-invalid``.
            Faulty: ``database-failed``.
        """
        self._recorder.forget_presence()
        subscriptions = [(fleet_filter(self._fleet, channel), qos_of(channel)) for channel in KINDS]
        self._link = Link(self._options, self, subscriptions, on_receipt=self._received)
        self._link.start()

    def leave(self) -> None:
        """Another process goes on: what has not been acknowledged is its own now."""
        link, self._link = self._link, None
        if link is not None:
            link.stop()
        self._messages.take(MAX_WAITING, 0.0)
        self._unwritten.clear()

    def close(self) -> None:
        """For good."""
        self._messages.close()
        self.leave()

    def wake(self) -> None:
        """Let `drain` return at once. Any thread."""
        self._messages.wake()

    def drain(self) -> None:
        """Record what has come, some of it, in one transaction; waits up to `POLL_S` for the first message only."""
        if self._unwritten:
            if time.monotonic() < self._pause_s:
                self._idle.wait(POLL_S)
                return
        else:
            self._sort(self._messages.take(DRAIN_COUNT, POLL_S))
        while self._unwritten and self._write(self._unwritten[0]):
            self._unwritten.popleft()
        if self._link is not None and self._overflowed.is_set() and time.monotonic() >= self._resync_s:
            self._overflowed.clear()
            # What did not fit may not fit the next time either: asking for it again and again would keep everything else out.
            self._resync_s = time.monotonic() + self._resync_pause_s
            self._resync_pause_s = min(2 * self._resync_pause_s, MAX_RESYNC_S)
            self._link.subscribe_again()

    def _sort(self, arrivals: list[Arrival]) -> None:
        """Into batches that end where the connection did."""
        batch = _Batch([], [])
        for arrival in arrivals:
            if arrival.topic == LINK_LOST:
                self._unwritten.extend(part for part in (batch, _Batch([arrival], [])) if part.arrivals)
                batch = _Batch([], [])
                continue
            batch.arrivals.append(arrival)
            message = self._parsed(arrival.topic, arrival.payload)
            if message is not None:
                batch.messages.append(message)
        if batch.arrivals:
            self._unwritten.append(batch)

    def _write(self, batch: _Batch) -> bool:
        """Whether that is done with."""
        try:
            if batch.arrivals[0].topic == LINK_LOST:
                self._recorder.forget_presence()
            elif batch.messages:
                self._recorder.record_all(batch.messages, time.time())
        except EdgewrightError as error:
            log.error("What devices said is not recorded yet: %s", error.reason.line())  # noqa: TRY400 - the reason is the message
            batch.tries += 1
            if batch.tries < TRIES or not self._write_alone(batch):
                self._pause_s = time.monotonic() + RETRY_S
                return False
        for arrival in batch.arrivals:
            if arrival.receipt is not None and self._link is not None:
                self._link.acknowledge(arrival.receipt)
        return True

    def _write_alone(self, batch: _Batch) -> bool:
        """Each message by itself; False when the database takes nothing at all."""
        for message in batch.messages:
            try:
                self._recorder.record(message, time.time())
            except EdgewrightError as error:
                if not self._recorder.can_write():
                    return False
                log.error("Dropped a %s that cannot be recorded: %s", type(message).__name__, error.reason.line())  # noqa: TRY400 - as above
        return True

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

    # --- on paho's thread ---

    def _received(self, name: str, payload: bytes, receipt: Receipt) -> None:
        if not self._messages.put(name, payload, receipt):
            log.warning("Dropped a message on %s: too many wait", name)
            self._overflowed.set()
            if self._link is not None:
                self._link.acknowledge(receipt)  # it would take a place in the broker's window for ever

    def link_up(self) -> None:
        self._resync_pause_s = RETRY_S
        self._messages.wake()

    def link_down(self, reason: str) -> None:
        self._messages.put(LINK_LOST, b"")  # in order: what comes after it is of the next connection
        log.warning("The connection of the recorder to the broker ended: %s", reason)

    def link_message(self, topic: str, payload: bytes) -> None:
        """Everything comes with a receipt."""

    def link_published(self, message_id: int) -> None:
        """Nothing is published here."""

    def link_problem(self, reason: Reason) -> None:
        self.problem = reason
        log.error("%s", reason.line())
        self._messages.wake()
