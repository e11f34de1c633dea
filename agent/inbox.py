"""The windowed pull: asks for chunks, takes them in any order, asks again for what does not come. No clock of its own.

Rules:
- at most `window` chunks are asked for and not there; the window grows by one per window that came whole and halves on a time-out
  (additive increase, multiplicative decrease: Chiu and Jain 1989), between 1 and 20;
- a chunk is overdue when neither it nor any other has come for the time-out (RFC 6298 §5.3: the timer starts anew with everything that comes):
  on a thin link a whole window takes longer than one chunk, and asking again would fill the link with what is on its way;
- chunks are served in the order in which they are asked for: one that `PASSED` later ones have overtaken is lost, and asked for again at once
  (as RFC 6675 reads three duplicate acknowledgements); the window halves at most once for all that was under way then;
- the time-out follows the measured answer time (RFC 6298), but not that of chunks that were asked for twice (Karn's algorithm, ib. §3), and
  never falls below the configured one;
- told that many want the blob, it asks for nothing and listens to the broadcast, saying every `TELL_EVERY` chunks how many it has heard; when the
  last chunk has come, or none for `LISTEN_S`, it asks for what is missing as ever;
- a chunk whose bytes do not have its hash is asked for again, at most `MAX_BAD` times; then the deployment is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.artifact import Blob
from ..core.errors import Rejected
from ..core.wire.frames import Frame
from .store import PartialBlob, Store

MAX_WINDOW = 20
PASSED = 3
MAX_BAD = 3
MAX_UNKNOWN = 3
MAX_TIMEOUT_S = 60.0
TELL_EVERY = 8
LISTEN_S = 5.0


@dataclass(slots=True)
class Pace:
    """How many chunks may be under way and how long one may take. Pure."""

    window: float
    timeout_s: float
    minimum_s: float
    _smooth_s: float | None = None
    _deviation_s: float = 0.0

    @property
    def chunks(self) -> int:
        return int(self.window)

    def arrived(self, seconds: float | None) -> None:
        """One chunk came, `seconds` after it was asked for; None when that cannot be told."""
        self.window = min(float(MAX_WINDOW), self.window + 1 / self.window)
        if seconds is None:
            return
        if self._smooth_s is None:
            self._smooth_s, self._deviation_s = seconds, seconds / 2
        else:
            self._deviation_s += (abs(self._smooth_s - seconds) - self._deviation_s) / 4
            self._smooth_s += (seconds - self._smooth_s) / 8
        self.timeout_s = min(MAX_TIMEOUT_S, max(self.minimum_s, self._smooth_s + 4 * self._deviation_s))

    def lost(self) -> None:
        """Chunks did not come, and others do: the link is there, and carries less than was asked for."""
        self.window = max(1.0, self.window / 2)

    def timed_out(self) -> None:
        """Nothing comes."""
        self.lost()
        self.timeout_s = min(MAX_TIMEOUT_S, self.timeout_s * 2)


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask the controller for; `ranges` are inclusive. With `heard`: nothing, but to go on with the broadcast, of which so much has come."""

    digest: str
    ranges: tuple[tuple[int, int], ...]
    window: int
    heard: int | None = None


@dataclass(slots=True)
class _Asked:
    """A chunk that was asked for: when, as the how-manieth, and how many that were asked for later have come before it."""

    time_s: float
    number: int
    passed: int = 0


@dataclass(slots=True)
class Transfer:
    """All blobs of one deployment, one after the other, chunk lists before what they list. Owned by the daemon's loop.

    Whoever drives it opens what `to_open` names (`opened`), sends `next_request`, hands over what comes (`take`), and finishes the blob that is
    `whole` (`finished`): both ends of a blob read it from disk, and are not for the loop.
    """

    store: Store
    blobs: tuple[Blob, ...]
    pace: Pace
    partial: PartialBlob | None = None
    whole: PartialBlob | None = None
    requests: int = 0
    repeated: int = 0
    _position: int = 0
    _cursor: int = 0
    _came_s: float = float("-inf")
    _asked: dict[int, _Asked] = field(default_factory=dict)
    _number: int = 0
    _recovered: int = 0
    _is_hurried: bool = False
    _again: set[int] = field(default_factory=set)
    _bad: dict[int, int] = field(default_factory=dict)
    _unknown: int = 0
    _heard: int | None = None
    _told: int = -1

    @property
    def is_complete(self) -> bool:
        return self._position >= len(self.blobs)

    @property
    def bytes_total(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs)

    @property
    def bytes_done(self) -> int:
        current = self.partial or self.whole
        return sum(blob.size_bytes for blob in self.blobs[: self._position]) + (current.have_bytes if current else 0)

    @property
    def under_way(self) -> int:
        """Chunks that are asked for and not there."""
        return len(self._asked)

    @property
    def next_timeout_s(self) -> float | None:
        """When the oldest request is overdue, on the caller's clock; None when nothing is asked for."""
        if self._heard is not None:
            return self._came_s + LISTEN_S
        return max(min(asked.time_s for asked in self._asked.values()), self._came_s) + self.pace.timeout_s if self._asked else None

    def to_open(self) -> Blob | None:
        """The blob to be opened now; None while one is open, and when all are in the store."""
        if self.partial is not None or self.whole is not None:
            return None
        while not self.is_complete and self.store.has(self.blobs[self._position]):
            self._position += 1
        return None if self.is_complete else self.blobs[self._position]

    def opened(self, partial: PartialBlob) -> None:
        """`partial` is what `to_open` named; it may be whole already, from before a restart."""
        self._asked, self._again, self._bad, self._cursor, self._unknown = {}, set(), {}, 0, 0
        self._heard = None
        if partial.missing == 0:
            self.whole = partial
        else:
            self.partial = partial

    def next_request(self, now_s: float) -> Request | None:
        """What to ask for now: overdue chunks again, and new ones within the window. None = nothing yet."""
        if self.partial is None:
            return None
        if self._heard is not None:
            if now_s < self._came_s + LISTEN_S:
                return self._tell(self.partial.blob.digest, self._heard)
            self._stop_listening()
        self._give_up_overdue(now_s)
        free = self.pace.chunks - len(self._asked)
        # A request per chunk would double the messages: wait until half the window is free. What was lost has waited already.
        if free < (1 if self._is_hurried else max(1, self.pace.chunks // 2)):
            return None
        wanted = self._pick(free)
        if not wanted:
            return None
        self._is_hurried = False
        for index in wanted:
            self._number += 1
            self._asked[index] = _Asked(now_s, self._number)
        self.requests += 1
        return Request(self.partial.blob.digest, _ranges(wanted), len(wanted))

    def _tell(self, digest: str, heard: int) -> Request | None:
        if 0 <= self._told > heard - TELL_EVERY:
            return None
        self._told = heard
        return Request(digest, (), 0, heard)

    def _listen(self, now_s: float) -> None:
        if self._heard is None:
            self._asked.clear()
            self._heard, self._told, self._came_s = 0, -1, now_s

    def _stop_listening(self) -> None:
        self._heard, self._cursor = None, 0

    def _give_up_overdue(self, now_s: float) -> None:
        # The same sum as in `next_timeout_s`: what is due then must be due here.
        timeout_s = self.pace.timeout_s
        overdue = [index for index, asked in self._asked.items() if max(asked.time_s, self._came_s) + timeout_s <= now_s]
        if overdue:
            self.pace.timed_out()
            self._ask_again(overdue)

    def _give_up_passed(self, number: int) -> None:
        """The chunk that was asked for as the one numbered `number` has come."""
        lost = []
        for index, asked in self._asked.items():
            if asked.number < number:
                asked.passed += 1
                if asked.passed >= PASSED:
                    lost.append(index)
        if not lost:
            return
        if any(self._asked[index].number > self._recovered for index in lost):
            self._recovered = self._number
            self.pace.lost()
        self._ask_again(lost)

    def _ask_again(self, indices: list[int]) -> None:
        self.repeated += len(indices)
        self._is_hurried = True
        for index in indices:
            del self._asked[index]
        self._again.update(indices)
        self._cursor = min(self._cursor, *indices)

    def _pick(self, count: int) -> list[int]:
        assert self.partial is not None
        wanted: list[int] = []
        index = self._cursor
        while index < self.partial.count and len(wanted) < count:
            if not self.partial.has(index) and index not in self._asked:
                wanted.append(index)
            index += 1
        self._cursor = index
        return wanted

    def take(self, frame: Frame, now_s: float) -> None:
        """One received frame. A chunk that fits is kept whoever asked for it; what belongs to another blob is ignored.

        Raises:
            Rejected: ``chunk-corrupt`` or ``blob-unknown``.
            Unfit: ``disk-full``.
        """
        partial = self.partial
        if partial is None or frame.digest != partial.blob.digest:
            return
        if frame.is_unknown:
            self._refused()
            return
        if frame.is_shared:
            self._listen(now_s)
            return
        self._hear(frame.index, partial.count, now_s)
        if frame.index >= partial.count or partial.has(frame.index):
            return
        if not partial.add(frame.index, frame.data):
            self._corrupt(frame.index)
            return
        asked = self._asked.pop(frame.index, None)
        if asked is not None:
            self.pace.arrived(None if frame.index in self._again else now_s - asked.time_s)
            self._give_up_passed(asked.number)
        self._came_s, self._unknown = now_s, 0
        if partial.missing == 0:
            self.whole, self.partial = partial, None

    def _hear(self, index: int, count: int, now_s: float) -> None:
        """While it listens, also what it has already counts: the sender must know how far the stream has come."""
        if self._heard is not None:
            self._heard, self._came_s = self._heard + 1, now_s
            if index == count - 1:
                self._stop_listening()

    def finished(self) -> None:
        """The blob that was `whole` is in the store: go on with the next."""
        self.whole = None
        self._position += 1

    def forget_requests(self) -> None:
        """The connection was lost, and with it every answer under way."""
        self._asked.clear()
        self._stop_listening()

    def close(self) -> None:
        """Let go of the blob under way; what has come of it stays on disk. One that is `whole` is whoever's finishes it."""
        if self.partial is not None:
            self.partial.close()
        self.partial = self.whole = None

    def discard(self) -> None:
        """As `close`, but the blob under way goes: its space may be what is needed to write down why."""
        if self.partial is not None:
            self.partial.discard()
        self.partial = self.whole = None

    def _corrupt(self, index: int) -> None:
        assert self.partial is not None
        self._bad[index] = self._bad.get(index, 0) + 1
        if self._bad[index] >= MAX_BAD:
            message = f"chunk {index} of {self.partial.blob.digest[:12]}… came {MAX_BAD} times with bytes that do not have its hash"
            raise Rejected("chunk-corrupt", message, "Check the controller's blob store, then send the deployment again")
        self._asked.pop(index, None)
        self._again.add(index)
        self._cursor = min(self._cursor, index)
        self.repeated += 1

    def _refused(self) -> None:
        assert self.partial is not None
        self._unknown += 1
        if self._unknown >= MAX_UNKNOWN:
            message = f"the controller does not have the blob {self.partial.blob.digest[:12]}…"
            raise Rejected("blob-unknown", message, "Send the deployment again with edgewright fleet deploy")


def _ranges(indices: list[int]) -> tuple[tuple[int, int], ...]:
    """Runs of neighbouring indices, which are in order, as inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for index in indices:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return tuple(ranges)
