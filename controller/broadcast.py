"""One stream of a blob's chunks for all who want it. No I/O, no clock of its own.

Rules:
- a blob of at least `MIN_CHUNKS` that at least `MIN_DEVICES` want is broadcast: who asks for it is told to listen instead;
- the stream begins when all who want it listen, or `GATHER_S` after the first one asked; who comes later hears the rest;
- listeners say how far they have heard; the stream is at most `AHEAD` chunks ahead of the last of them, and does not wait for one that has said
  nothing for `LEFT_BEHIND_S`;
- who listened asks for what it has missed, and is sent that alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

MIN_DEVICES = 4
MIN_CHUNKS = 16
GATHER_S = 2.0
AHEAD = 32
LEFT_BEHIND_S = 2.0
REMEMBERED = 32

Answer = Literal["serve", "listen"]


@dataclass(slots=True)
class _Listener:
    """`joined` is where the stream was when it came; `heard` what it has heard since."""

    joined: int
    heard: int
    told_s: float

    @property
    def position(self) -> int:
        return self.joined + self.heard


@dataclass(slots=True)
class _Stream:
    count: int
    wanted: int
    since_s: float
    next: int = 0
    has_begun: bool = False
    listeners: dict[str, _Listener] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)

    def has_room(self, now_s: float) -> bool:
        """Whether the next chunk may go."""
        if not self.has_begun:
            self.has_begun = len(self.listeners) >= self.wanted or now_s - self.since_s >= GATHER_S
        live = [listener.position for listener in self.listeners.values() if now_s - listener.told_s < LEFT_BEHIND_S]
        return self.has_begun and bool(live) and self.next < min(live) + AHEAD

    def is_over(self, now_s: float) -> bool:
        """At its end, or nobody listens any more."""
        is_deserted = all(now_s - listener.told_s >= LEFT_BEHIND_S for listener in self.listeners.values())
        return self.next >= self.count or (now_s - self.since_s >= GATHER_S + LEFT_BEHIND_S and is_deserted)


class Broadcasts:
    """All streams of one server. `wanting` says how many devices want a blob."""

    def __init__(self, wanting: Callable[[str], int]) -> None:
        self._wanting = wanting
        self._streams: dict[str, _Stream] = {}
        self._past: OrderedDict[str, set[str]] = OrderedDict()

    @property
    def is_idle(self) -> bool:
        return not self._streams

    def asked(self, device: str, digest: str, count: int, now_s: float) -> Answer:
        """`device` asks for chunks of a blob that has `count`."""
        stream = self._streams.get(digest)
        if stream is None:
            past = self._past.get(digest, set())
            if count < MIN_CHUNKS or device in past or self._wanting(digest) - len(past) < MIN_DEVICES:
                return "serve"
            self._streams[digest] = _Stream(count, self._wanting(digest) - len(past), now_s)
            return "listen"
        if device in stream.past or stream.listeners.pop(device, None) is not None:
            stream.past.add(device)
            return "serve"
        return "listen"

    def heard(self, device: str, digest: str, count: int, now_s: float) -> None:
        """`device` listens, and has heard `count` chunks since it does."""
        stream = self._streams.get(digest)
        if stream is None or device in stream.past:
            return
        known = stream.listeners.get(device)
        stream.listeners[device] = _Listener(stream.next if known is None else known.joined, count, now_s)

    def next_chunk(self, now_s: float) -> tuple[str, int] | None:
        """What to send now; None = nothing yet."""
        for digest, stream in list(self._streams.items()):
            if stream.is_over(now_s):
                self._end(digest, stream)
            elif stream.has_room(now_s):
                stream.next += 1
                return digest, stream.next - 1
        return None

    def _end(self, digest: str, stream: _Stream) -> None:
        del self._streams[digest]
        self._past[digest] = self._past.pop(digest, set()) | stream.past | stream.listeners.keys()
        while len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
