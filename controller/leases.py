"""Who does what among several controller processes: leases in the database, which end by themselves when their holder dies.

Rules:
- each process is a member as long as it says so every few seconds; a *desk* is work that one of them does at a time;
- desks are dealt out over the members in the order of their names; who holds one that is another living member's gives it up;
- a holder counts its lease from before it asked, and stops a while before the others may begin. Every effect is safe without that too: it is one
  transaction that looks before it acts;
- time is the database's, so that the machines' clocks need not agree.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from ..core.errors import EdgewrightError
from .account_tables import LeaseRow
from .database import Database

log = logging.getLogger(__name__)

LEASE_S = 10.0
LOOK_S = 2.0
MARGIN_S = 2.0
STUCK_S = 30.0

Desk = Literal["conduct", "record"]
"""``conduct``: rollouts, signing and publishing. ``record``: writing down what devices say."""
DESKS: tuple[Desk, ...] = get_args(Desk)


@dataclass(frozen=True, slots=True)
class Shares:
    """What is this process's now."""

    me: str
    members: tuple[str, ...]
    desks: frozenset[Desk]

    def is_mine(self, key: str) -> bool:
        """Whether `key` falls to this member: every member comes to the same answer (rendezvous hashing: a member's death moves its keys alone)."""
        return max(self.members, key=lambda member: hashlib.sha256(f"{member} {key}".encode()).digest(), default="") == self.me


class Sharing(Protocol):
    """Says what is this process's."""

    def start(self) -> None:
        """Before the first look."""

    def look(self) -> Shares:
        """Cheap, to be called often."""

    def give_up(self) -> None:
        """This process ends: others may go on at once."""


class Alone:
    """Nobody else serves this fleet."""

    def start(self) -> None:
        return

    def look(self) -> Shares:
        return Shares("alone", ("alone",), frozenset(DESKS))

    def give_up(self) -> None:
        return


class Leases:
    """Renewed by a thread of their own: what its caller does may take longer than a lease. They end when the caller does not look for `STUCK_S`."""

    def __init__(self, database: Database, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.me = f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._database = database
        self._monotonic_s = monotonic_s
        self._nothing = Shares(self.me, (), frozenset())
        self._held = (self._nothing, float("-inf"))  # what, and until when; replaced whole
        self._looked_s = float("-inf")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def start(self) -> None:
        """Take what is free, and keep it from now on."""
        self._looked_s = self._monotonic_s()
        self.renew()
        self._thread.start()

    def look(self) -> Shares:
        """What is ours as long as it can be relied on; while the database fails, until the lease ends."""
        self._looked_s = self._monotonic_s()
        shares, until_s = self._held
        return shares if self._looked_s < until_s else self._nothing

    def renew(self) -> None:
        """One look at the database."""
        begun_s = self._monotonic_s()
        if begun_s - self._looked_s > STUCK_S:
            return
        try:
            self._held = self._renewed(), begun_s + LEASE_S - MARGIN_S
        except EdgewrightError as error:
            log.error("The leases were not renewed: %s", error.reason.line())  # noqa: TRY400 - the reason is the message

    def _keep(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.renew()

    def give_up(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LEASE_S)
        self._held = (self._nothing, float("-inf"))
        try:
            with self._database.transaction() as session:
                session.execute(delete(LeaseRow).where(LeaseRow.holder == self.me))
        except EdgewrightError as error:
            log.warning("The leases were not given up, and end by themselves: %s", error.reason.line())

    def _renewed(self) -> Shares:
        with self._database.transaction() as session:
            now_s = self._now_s(session)
            session.execute(delete(LeaseRow).where(LeaseRow.until_s <= now_s))
            session.merge(LeaseRow(name=f"member {self.me}", holder=self.me, until_s=now_s + LEASE_S))
            session.flush()
            rows = list(session.scalars(select(LeaseRow).order_by(LeaseRow.name)))
            members = tuple(row.holder for row in rows if row.name.startswith("member "))
            held = {row.name: row for row in rows}
            desks = {desk for number, desk in enumerate(DESKS) if self._take(session, desk, members[number % len(members)], held.get(desk), now_s)}
        before = self._held[0]
        if desks != before.desks or members != before.members:
            log.info("This process, %s, is one of %d and does: %s", self.me, len(members), ", ".join(sorted(desks)) or "chunks only")
        return Shares(self.me, members, frozenset(desks))

    def _take(self, session: Session, desk: Desk, rightful: str, row: LeaseRow | None, now_s: float) -> bool:
        """Whether the desk is ours for another lease. One that is free is taken by its rightful member alone."""
        if row is not None and row.holder == self.me and rightful != self.me:
            session.delete(row)
            return False
        if rightful != self.me or (row is not None and row.holder != self.me):
            return False
        session.merge(LeaseRow(name=desk, holder=self.me, until_s=now_s + LEASE_S))
        return True

    def _now_s(self, session: Session) -> float:
        if self._database.is_sqlite:
            return time.time()
        return float(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
