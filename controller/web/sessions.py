"""Who is logged in at the page. In memory: whoever was logged in logs in again after a restart, and nothing on a disk can be stolen.

A session is known by a random secret in a cookie; only its hash is kept. It ends by logging out, after `IDLE_S` without a request, after `LIFE_S` in
any case, and as soon as its token is revoked or expired (`access` looks at each request).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass, replace

IDLE_S = 3600.0
LIFE_S = 12 * 3600.0
MAX_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """One login with the token of this id. `csrf` stands in every form of its pages, and nowhere else."""

    token: str
    csrf: str
    begun_s: float
    used_s: float


class Sessions:
    """Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Session] = {}

    def begin(self, token: str, now_s: float) -> str:
        """A new session; returns its secret. Where there are too many, the one that was used longest ago ends."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._forget_old(now_s)
            if len(self._known) >= MAX_SESSIONS:
                del self._known[min(self._known, key=lambda key: self._known[key].used_s)]
            self._known[_hash(secret)] = Session(token, secrets.token_urlsafe(32), now_s, now_s)
        return secret

    def find(self, secret: str, now_s: float, *, is_use: bool = True) -> Session | None:
        """The session, which then counts as used unless a page has only looked by itself; None when there is none any more."""
        key = _hash(secret)
        with self._lock:
            session = self._known.get(key)
            if session is None or _is_old(session, now_s):
                self._known.pop(key, None)
                return None
            if is_use:
                self._known[key] = replace(session, used_s=now_s)
            return session

    def end(self, secret: str) -> None:
        with self._lock:
            self._known.pop(_hash(secret), None)

    def _forget_old(self, now_s: float) -> None:
        for key in [key for key, session in self._known.items() if _is_old(session, now_s)]:
            del self._known[key]


def _is_old(session: Session, now_s: float) -> bool:
    return now_s - session.used_s > IDLE_S or now_s - session.begun_s > LIFE_S


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
