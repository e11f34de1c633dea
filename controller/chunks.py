"""Answers requests for chunks: reads blobs, sends frames. A thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..core.errors import EdgewrightError
from ..core.wire.frames import encode_chunk, encode_shared_blob, encode_unknown_blob
from ..core.wire.messages import Get, decode
from ..core.wire.topics import Address, broadcast_topic, parse_topic, topic
from .backlog import Arrival, Backlog
from .blobs import BlobReader, BlobStore
from .broadcast import Broadcasts

log = logging.getLogger(__name__)

MAX_CHUNKS_PER_GET = 20
MAX_WAITING = 5_000
MAX_GET_BYTES = 4096
STALE_S = 10.0
STOP_S = 5.0
STREAM_POLL_S = 0.02
STREAMED_AT_ONCE = 8

Send = Callable[[str, bytes], bool]
"""Publishes one frame on a topic; False when it could not be handed over."""
IsMine = Callable[[str], bool]
"""Whether requests for the blob of this digest are ours to answer: another process hears them too."""


class ChunkServer:
    """Serves requests in the order they came. A request may wait `STALE_S`: its device has asked again by then."""

    def __init__(self, fleet: str, blobs: BlobStore, send: Send, is_mine: IsMine, wanting: Callable[[str], int]) -> None:
        self._fleet = fleet
        self._reader = BlobReader(blobs)
        self._broadcasts = Broadcasts(wanting)
        self._send = send
        self._is_mine = is_mine
        self._waiting = Backlog(MAX_WAITING, MAX_WAITING * MAX_GET_BYTES)
        self._thread = threading.Thread(target=self._run, name="chunks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def ask(self, name: str, payload: bytes) -> bool:
        """Queue one request; False when it is dropped: the device asks again. Any thread."""
        return len(payload) <= MAX_GET_BYTES and self._waiting.put(name, payload)

    def _run(self) -> None:
        while not self._waiting.is_closed:
            # Requests first: they say how far a stream may go.
            arrival = self._waiting.get(None if self._broadcasts.is_idle else 0.0)
            try:
                if arrival is not None:
                    self._answer(arrival)
                elif not self._broadcasts.is_idle and not self._stream():
                    self._waiting.wait(STREAM_POLL_S)
            except EdgewrightError as error:
                log.warning("Dropped a request on %s: %s", arrival.topic if arrival else "a broadcast", error.reason.line())
            except Exception:  # one request must not end the serving of all others
                log.exception("A request on %s could not be answered", arrival.topic if arrival else "a broadcast")
        self._reader.close()

    def _stream(self) -> bool:
        """Send a few chunks to all who listen; False when none is due."""
        for number in range(STREAMED_AT_ONCE):
            due = self._broadcasts.next_chunk(time.monotonic())
            if due is None:
                return number > 0
            digest, index = due
            data = self._reader.chunk(digest, index)
            if data:
                self._send(broadcast_topic(self._fleet, digest), encode_chunk(digest, index, data))
        return True

    def _answer(self, arrival: Arrival) -> None:
        get, address = decode(arrival.payload, Get), parse_topic(arrival.topic)
        if address is None or (get.fleet, get.device) != (address.fleet, address.device):
            log.warning("Dropped a request on %s that names another device", arrival.topic)
            return
        if not self._is_mine(get.digest):
            return
        if get.heard is not None:
            self._broadcasts.heard(get.device, get.digest, get.heard, time.monotonic())
            return
        if self._broadcasts.asked(get.device, get.digest, self._reader.count(get.digest), time.monotonic()) == "listen":
            self._send(topic(address.fleet, address.device, "blob"), encode_shared_blob(get.digest))
            return
        left = min(get.window, MAX_CHUNKS_PER_GET)
        for first, last in get.ranges:
            for index in range(first, min(last, first + left - 1) + 1):
                left -= 1
                is_late = time.monotonic() - arrival.arrived_s > STALE_S
                if is_late or self._waiting.is_closed or not self._send_chunk(address, get.digest, index):
                    return

    def _send_chunk(self, address: Address, digest: str, index: int) -> bool:
        """Whether to go on with this request."""
        target = topic(address.fleet, address.device, "blob")
        data = self._reader.chunk(digest, index)
        if data is None:
            self._send(target, encode_unknown_blob(digest))
            return False
        return self._send(target, encode_chunk(digest, index, data)) if data else True
