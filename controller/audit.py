"""The audit log: who did what to what. Written in the same transaction as the deed, so that neither is there without the other."""

from __future__ import annotations

import getpass
import os

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from .account_tables import AuditRow
from .database import Database

CONTROLLER = "controller"
MAX_DETAIL = 2000


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed."""

    id: int
    time_s: float
    actor: str
    action: str
    subject: str
    detail: str


def note(session: Session, actor: str, action: str, subject: str, now_s: float, detail: str = "") -> None:
    """Write one deed down; no secret may stand in it."""
    session.add(AuditRow(time_s=now_s, actor=actor, action=action, subject=subject, detail=detail[:MAX_DETAIL]))


def person_here() -> str:
    """The actor of a command that somebody runs on this machine."""
    try:
        return f"user:{getpass.getuser()}"
    except (OSError, KeyError):  # a uid without a name
        return f"user:{os.getuid()}"


class AuditLog:
    """Reads; nothing can be changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self, subject: str | None = None, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """The latest deeds first; `before` goes on from the last number of an earlier page."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        if before is not None:
            query = query.where(AuditRow.id < before)
        with self._database.reading() as session:
            return [
                AuditEntry(id=row.id, time_s=row.time_s, actor=row.actor, action=row.action, subject=row.subject, detail=row.detail)
                for row in session.scalars(query)
            ]
