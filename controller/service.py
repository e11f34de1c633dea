"""The serving process: one connection to the broker, that publishes goals, records what devices say, and serves chunks.

Threads: paho's (only enqueues), the chunk thread (reads blobs and publishes frames), and the caller's, which owns the database.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import EdgewrightError, Reason
from ..core.trust import Sign
from ..core.wire.frames import encode_chunk, encode_unknown_blob
from ..core.wire.link import Link, LinkOptions
from ..core.wire.messages import Capabilities, Event, Get, Message, Reply, Reported, Status, Telemetry, decode
from ..core.wire.topics import FROM_DEVICE, Channel, fleet_filter, parse_topic, topic
from .blobs import BlobReader, BlobStore
from .orders import Orders
from .recorder import Recorder

log = logging.getLogger(__name__)

POLL_S = 0.25
RENEW_POLL_S = 600.0
MAX_CHUNKS_PER_GET = 20
MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service works with; the command line puts it together."""

    fleet: str
    orders: Orders
    recorder: Recorder
    blobs: BlobStore
    sign: Sign
    change_mark: Callable[[], int]


class Service:
    """Runs until `stop`."""

    def __init__(self, parts: Parts, options: LinkOptions) -> None:
        self._parts = parts
        self._messages: queue.Queue[tuple[str, bytes] | None] = queue.Queue(MAX_WAITING)
        self._gets: queue.Queue[tuple[str, bytes] | None] = queue.Queue(MAX_WAITING)
        self._up = threading.Event()
        self._announce = threading.Event()
        self._stopping = threading.Event()
        subscriptions = [(fleet_filter(parts.fleet, channel), 0 if channel in {"get", "telemetry"} else 1) for channel in FROM_DEVICE]
        self._link = Link(options, self, subscriptions)
        self._chunks = threading.Thread(target=self._serve_chunks, name="chunks", daemon=True)

    def wait_until_up(self, timeout_s: float) -> bool:
        return self._up.wait(timeout_s)

    def start(self) -> None:
        self._chunks.start()
        self._link.start()

    def run(self) -> None:
        """Work until `stop`; blocks."""
        mark, look_again_s = -1, 0.0
        while not self._stopping.is_set():
            self._drain(POLL_S)
            if self._announce.is_set() and self._link.is_connected:
                self._announce.clear()
                self._publish("desired", self._parts.orders.all_desired())
                mark = -1
            now_mark = self._parts.change_mark()
            if (now_mark != mark or time.monotonic() > look_again_s) and self._link.is_connected:
                mark, look_again_s = now_mark, time.monotonic() + RENEW_POLL_S
                now_s = time.time()
                self._publish("desired", self._parts.orders.sign_changed_goals(self._parts.sign, now_s))
                self._publish("command", self._parts.orders.sign_commands(self._parts.sign, now_s))
        self._gets.put(None)
        self._link.stop()
        self._chunks.join(5)

    def stop(self) -> None:
        """May be called from a signal handler."""
        self._stopping.set()

    def _publish(self, channel: Channel, messages: list[tuple[str, bytes]]) -> None:
        for device, payload in messages:
            self._link.publish(topic(self._parts.fleet, device, channel), payload, qos=1, retain=channel == "desired")

    def _drain(self, wait_s: float) -> None:
        """Record what has come; waits for the first message only."""
        block = True
        while not self._stopping.is_set():
            try:
                item = self._messages.get(block, wait_s)
            except queue.Empty:
                return
            block = False
            if item is not None:
                self._record(*item)

    def _record(self, name: str, payload: bytes) -> None:
        address = parse_topic(name)
        if address is None:
            return
        recorder, now_s = self._parts.recorder, time.time()
        writers: dict[Channel, tuple[type[Message], Callable[..., bool]]] = {
            "status": (Status, lambda message: recorder.status(message, now_s)),
            "capabilities": (Capabilities, lambda message: recorder.capabilities(message, now_s)),
            "reported": (Reported, lambda message: recorder.reported(message, now_s)),
            "event": (Event, lambda message: recorder.event(message, now_s)),
            "telemetry": (Telemetry, lambda message: recorder.telemetry(message, now_s)),
            "reply": (Reply, recorder.reply),
        }
        if address.channel not in writers or not payload:
            return
        kind, write = writers[address.channel]
        try:
            message = decode(payload, kind)
            # The broker's rules bind the topic to the device's password: a message in another's name is a lie.
            if (getattr(message, "fleet", None), getattr(message, "device", None)) != (address.fleet, address.device):
                log.warning("Dropped a %s on %s that names another device", address.channel, name)
                return
            write(message)
        except EdgewrightError as error:
            log.warning("Dropped a %s of %s: %s", address.channel, address.device, error.reason.line())

    def _serve_chunks(self) -> None:
        reader = BlobReader(self._parts.blobs)
        while (item := self._gets.get()) is not None:
            try:
                self._answer(reader, *item)
            except EdgewrightError as error:
                log.warning("Dropped a request on %s: %s", item[0], error.reason.line())
            except OSError:
                log.exception("A blob could not be read")
        reader.close()

    def _answer(self, reader: BlobReader, name: str, payload: bytes) -> None:
        get = decode(payload, Get)
        address = parse_topic(name)
        if address is None or get.device != address.device or get.fleet != address.fleet:
            return
        target = topic(address.fleet, address.device, "blob")
        left = min(get.window, MAX_CHUNKS_PER_GET)
        for first, last in get.ranges:
            for index in range(max(0, first), min(last, first + left) + 1):
                if left <= 0:
                    return
                left -= 1
                data = reader.chunk(get.digest, index)
                if data is None:
                    self._link.publish(target, encode_unknown_blob(get.digest), qos=0)
                    return
                if data:
                    self._link.publish(target, encode_chunk(get.digest, index, data), qos=0)

    # --- LinkHandler, on paho's thread ---

    def link_up(self) -> None:
        self._announce.set()
        self._up.set()
        self._wake()

    def link_down(self, reason: str) -> None:
        log.warning("The connection to the broker ended: %s", reason)

    def link_message(self, topic: str, payload: bytes) -> None:
        waiting = self._gets if topic.endswith("/get") else self._messages
        try:
            waiting.put_nowait((topic, payload))
        except queue.Full:
            # Devices ask for chunks again, and announce their state whole on the next connect.
            log.warning("Dropped a message on %s: too many wait", topic)

    def link_published(self, message_id: int) -> None:
        pass

    def link_problem(self, reason: Reason) -> None:
        log.error("%s", reason.line())

    def _wake(self) -> None:
        try:
            self._messages.put_nowait(None)
        except queue.Full:
            return
