"""Signed messages on their way in: verified in a child, one at a time, whoever floods us.

Rules:
- of the goals that wait only the newest is kept: each is the whole goal;
- at most `MAX_COMMANDS` commands wait; more are dropped, which is a problem in the report;
- the same bytes again are no news: brokers deliver twice, and the retained goal comes with every connect;
- what is refused for this device's own fault (no memory, an unreadable anchor, a full disk) is a goal still: it is tried again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..core.digest import digest_of_bytes
from ..core.errors import EdgewrightError, Reason, Rejected
from ..core.trust import Verified
from ..core.wire.frames import MAX_PAYLOAD_BYTES
from ..core.wire.messages import Command, Desired
from .lanes import Job, Lanes
from .logs import about

log = logging.getLogger(__name__)

MAX_COMMANDS = 16
RETRY_S = 30.0

Kind = Literal["desired", "command"]


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is concerned; all are called in the loop.

    `verify` makes the lane's job for the bytes of one kind. `want` and `obey` get the verified content and the digest of its bytes, and may
    raise. `known_digest` is the accepted goal's. `problem` hears of each kind's latest refusal, None when there is none.
    """

    verify: Callable[[Kind, bytes], Callable[..., Verified]]
    want: Callable[[Desired, str], None]
    obey: Callable[[Command], None]
    known_digest: Callable[[], str]
    problem: Callable[[Kind, Reason | None], None]


@dataclass(frozen=True, slots=True)
class _Arrived:
    kind: Kind
    payload: bytes
    digest: str


class Envelopes:
    """Owned by the daemon's loop."""

    def __init__(self, receiver: Receiver, lanes: Lanes, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._lanes = lanes
        self._monotonic_s = monotonic_s
        self._goal: _Arrived | None = None
        self._commands: deque[_Arrived] = deque()
        self._checking: _Arrived | None = None
        self._last_command = ""
        self._goal_not_before_s = 0.0

    def __len__(self) -> int:
        """What waits or is being verified."""
        return len(self._commands) + (self._goal is not None) + (self._checking is not None)

    def arrived(self, kind: Kind, payload: bytes) -> None:
        """A message has come."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            self._refuse(
                kind, Rejected("message-too-large", f"a {kind} message of {len(payload)} bytes", "Check what publishes on this topic").reason
            )
            return
        item = _Arrived(kind, payload, digest_of_bytes(payload))
        if self._checking is not None and self._checking.digest == item.digest:
            return
        if kind == "desired" and item.digest == self._receiver.known_digest():
            self._receiver.problem(kind, None)
            return
        if kind == "desired":
            self._goal, self._goal_not_before_s = item, 0.0
        elif item.digest == self._last_command or any(item.digest == waiting.digest for waiting in self._commands):
            return
        elif len(self._commands) >= MAX_COMMANDS:
            message = f"more than {MAX_COMMANDS} commands waited"
            self._refuse(kind, Rejected("too-many-commands", message, "Send it again; check who sends so many").reason)
        else:
            self._commands.append(item)
        self.turn()

    def next_turn_s(self) -> float | None:
        """When `turn` has to be called at the latest, on the monotonic clock."""
        if self._checking is not None or (self._goal is None and not self._commands):
            return None
        return 0.0 if self._commands else self._goal_not_before_s

    def turn(self) -> None:
        """Have the next one verified, when none is and one is due."""
        if self._checking is not None:
            return
        item = self._next()
        if item is None:
            return
        self._checking = item
        job = Job(
            f"verify {item.kind}",
            self._receiver.verify(item.kind, item.payload),
            lambda verified: self._verified(item, verified),
            lambda reason: self._failed(item, reason),
        )
        self._lanes.submit("short", job)

    def _next(self) -> _Arrived | None:
        if self._commands:
            return self._commands.popleft()
        if self._goal is None or self._monotonic_s() < self._goal_not_before_s:
            return None
        goal, self._goal = self._goal, None
        return goal

    def _verified(self, item: _Arrived, verified: Verified) -> None:
        self._checking = None
        try:
            if item.kind == "desired" and verified.desired is not None:
                self._receiver.want(verified.desired, item.digest)
            elif item.kind == "command" and verified.command is not None:
                self._last_command = item.digest
                self._receiver.obey(verified.command)
            else:
                raise Rejected("envelope-wrong-kind", f"the {item.kind} topic carries another kind of message", "Check the controller")
        except EdgewrightError as error:
            self._failed(item, error.reason)
            return
        self._receiver.problem(item.kind, None)
        self.turn()

    def _failed(self, item: _Arrived, reason: Reason) -> None:
        self._checking = None
        self._refuse(item.kind, reason)
        if item.kind == "desired" and self._goal is None and reason.family != "rejected":
            self._goal, self._goal_not_before_s = item, self._monotonic_s() + RETRY_S
        self.turn()

    def _refuse(self, kind: Kind, reason: Reason) -> None:
        log.warning("Refused a %s message: %s", kind, reason.line(), extra=about(reason=reason))
        self._receiver.problem(kind, reason)
