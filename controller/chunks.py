"""Answers requests for chunks: reads blobs, sends frames. A thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..core.errors import EdgewrightError
from ..core.wire.frames import encode_chunk, encode_unknown_blob
from ..core.wire.messages import Get, decode
from ..core.wire.topics import Address, parse_topic, topic
from .backlog import Arrival, Backlog
from .blobs import BlobReader, BlobStore

log = logging.getLogger(__name__)

MAX_CHUNKS_PER_GET = 20
MAX_WAITING = 5_000
MAX_GET_BYTES = 4096
STALE_S = 10.0
STOP_S = 5.0

Send = Callable[[str, bytes], bool]
"""Publishes one frame on a topic; False when it could not be handed over."""
IsMine = Callable[[str], bool]
"""Whether requests for the blob of this digest are ours to answer: another process hears them too."""


class ChunkServer:
    """Serves requests in the order they came. A request may wait `STALE_S`: its device has asked again by then."""

    def __init__(self, blobs: BlobStore, send: Send, is_mine: IsMine) -> None:
        self._reader = BlobReader(blobs)
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
            arrival = self._waiting.get(None)
            if arrival is None:
                continue
            try:
                self._answer(arrival)
            except EdgewrightError as error:
                log.warning("Dropped a request on %s: %s", arrival.topic, error.reason.line())
            except Exception:  # one request must not end the serving of all others
                log.exception("A request on %s could not be answered", arrival.topic)
        self._reader.close()

    def _answer(self, arrival: Arrival) -> None:
        get, address = decode(arrival.payload, Get), parse_topic(arrival.topic)
        if address is None or (get.fleet, get.device) != (address.fleet, address.device):
            log.warning("Dropped a request on %s that names another device", arrival.topic)
            return
        if not self._is_mine(get.digest):
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
