"""A TCP proxy on loopback that is every bad link: slow, thin, deaf, cut; and, as it reads MQTT, one that loses, doubles and reorders chunks.

Bytes are held back for `delay_s` and pass a token bucket of `bytes_per_s`; a full buffer holds the sender back, as a router's queue under TCP does.
What the broker says can lose, double and swap whole PUBLISH packets of the chunk topic: TCP repeats lost segments by itself, so what is lost above
it is lost by brokers.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

BURST_S = 0.2
_RESET = struct.pack("ii", 1, 0)
_READ_BYTES = 16 * 1024
_QUEUE_S = 0.1
_TICK_S = 0.05
_LEAST_QUEUE_BYTES = 64 * 1024
_PUBLISH = 3


@dataclass(slots=True)
class Weather:
    """What the link does. May be changed at any time; shares are of chunks from the broker."""

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    lost: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0
    is_deaf: bool = False
    is_closed: bool = False


class Proxy:
    """Stands before the broker at `port`; `weather` may be set at any time."""

    def __init__(self, target: int, seed: int = 1) -> None:
        self._target = target
        self.weather = Weather()
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        self._counting = threading.Lock()  # guards the two counts: every direction has a thread
        self.lost = self.carried = 0
        self.moved_bytes = self.moves = self.bursts = 0
        self._moved_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.weather.is_closed:
                _reset(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5.0)
                far.settimeout(None)
            except OSError:
                _reset(near)
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs = [pair for pair in self._pairs if not pair.is_over]
            self._pairs.append(_Pair(self, near, far))

    def reset(self) -> None:
        """End every connection by RST; new ones go through."""
        for pair in self._pairs:
            pair.cut()

    def forget(self) -> None:
        """Every connection is half-open from here on: nothing passes and nobody is told. New ones go through."""
        for pair in self._pairs:
            pair.is_forgotten = True

    def close(self) -> None:
        self._listener.close()
        self.reset()

    def count(self, size_bytes: int) -> None:
        """So much came in one piece, from either side. What follows within `BURST_S` carries the acknowledgement of what came before."""
        with self._counting:
            self.moved_bytes += size_bytes
            self.moves += 1
            before_s, self._moved_s = self._moved_s, time.monotonic()
            self.bursts += self._moved_s - before_s > BURST_S

    def fate(self) -> str:
        """What becomes of the next chunk."""
        weather, dice = self.weather, self._chance.random()
        self.carried += 1
        if dice < weather.lost:
            self.lost += 1
            return "lost"
        if dice < weather.lost + weather.doubled:
            return "doubled"
        return "swapped" if dice < weather.lost + weather.doubled + weather.swapped else "carried"


class _Pair:
    """Both directions of one connection."""

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self.proxy, self._near, self._far = proxy, near, far
        self.is_forgotten = self.is_over = False
        _Way(self, near, far, _Bytes())
        _Way(self, far, near, _Packets(proxy))

    def cut(self) -> None:
        self.is_over = True
        for end in (self._near, self._far):
            _reset(end)


class _Way:
    """One direction: a thread that reads, and one that sends when it is time."""

    def __init__(self, pair: _Pair, source: socket.socket, sink: socket.socket, shape: _Bytes | _Packets) -> None:
        self._pair, self._source, self._sink, self._shape = pair, source, sink, shape
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._sent_s = 0.0
        self._changed = threading.Condition()
        for work in (self._read, self._send):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while not self._pair.is_over and (data := self._source.recv(_READ_BYTES)):
                self._pair.proxy.count(len(data))
                self._hold_back()
                for piece in self._shape.pieces(data):
                    self._put(piece)
        with self._changed:
            self._queue.append((time.monotonic(), b""))
            self._changed.notify_all()

    def _hold_back(self) -> None:
        weather = self._pair.proxy.weather
        rate = weather.bytes_per_s
        limit = 4 << 20 if rate is None else max(_LEAST_QUEUE_BYTES, rate * (weather.delay_s + _QUEUE_S))
        with self._changed:
            self._changed.wait_for(lambda: self._queued_bytes < limit or self._pair.is_over)

    def _put(self, data: bytes) -> None:
        while self._pair.proxy.weather.is_deaf and not (self._pair.is_over or self._pair.is_forgotten):
            time.sleep(_TICK_S)  # TCP repeats what a black hole swallowed: it comes late, or never, but not with a gap
        if self._pair.is_forgotten:
            return
        with self._changed:
            self._queue.append((time.monotonic(), data))
            self._queued_bytes += len(data)
            self._changed.notify_all()

    def _send(self) -> None:
        while not self._pair.is_over:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._pair.is_over, 1.0)
                if not self._queue:
                    continue
                came_s, data = self._queue[0]
            time.sleep(max(0.0, came_s + self._pair.proxy.weather.delay_s - time.monotonic()))
            if not data:
                self._pair.cut()
                return
            self._trickle(data)
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= len(data)
                self._changed.notify_all()

    def _trickle(self, data: bytes) -> None:
        """Send at the rate of the moment, which may change on the way."""
        while data:
            rate = self._pair.proxy.weather.bytes_per_s
            count = len(data) if rate is None else max(1, int(rate * _TICK_S))
            piece, data = data[:count], data[count:]
            if rate is not None:
                self._sent_s = max(self._sent_s, time.monotonic() - _TICK_S) + len(piece) / rate
                time.sleep(max(0.0, self._sent_s - time.monotonic()))
            with suppress(OSError):
                self._sink.sendall(piece)


class _Bytes:
    """Passes everything as it comes."""

    def pieces(self, data: bytes) -> list[bytes]:
        return [data]


class _Packets:
    """Reads MQTT packets (MQTT 3.1.1, section 2.2) and decides about those that carry a chunk."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._buffer = b""
        self._late: bytes | None = None

    def pieces(self, data: bytes) -> list[bytes]:
        self._buffer += data
        out: list[bytes] = []
        while (size := _packet_size(self._buffer)) is not None and len(self._buffer) >= size:
            packet, self._buffer = self._buffer[:size], self._buffer[size:]
            out += self._carry(packet)
        return [out_piece for packet in out for out_piece in _split(packet)]

    def _carry(self, packet: bytes) -> list[bytes]:
        if packet[0] >> 4 != _PUBLISH or b"/blob" not in packet[:300]:
            return [packet]
        fate = self._proxy.fate()
        if fate == "lost":
            return []
        if fate == "swapped" and self._late is None:
            self._late = packet
            return []
        late, self._late = self._late, None
        return [packet] * (2 if fate == "doubled" else 1) + ([late] if late is not None else [])


def _packet_size(data: bytes) -> int | None:
    """The length of the first packet in `data`; None when not even that is there."""
    length = 0
    for position in range(1, 5):
        if position >= len(data):
            return None
        length |= (data[position] & 0x7F) << 7 * (position - 1)
        if not data[position] & 0x80:
            return 1 + position + length
    return len(data)


def _split(packet: bytes) -> list[bytes]:
    return [packet[start : start + _READ_BYTES] for start in range(0, len(packet), _READ_BYTES)]


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
