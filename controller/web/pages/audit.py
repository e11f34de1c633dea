"""Who did what."""

from __future__ import annotations

from dataclasses import dataclass

from ...audit import AuditEntry
from ..access import Caller
from ..asked import Asked
from ..site import Site

PAGE = 50


@dataclass(frozen=True, slots=True)
class AuditView:
    """One page, the latest deeds first."""

    entries: tuple[AuditEntry, ...]
    subject: str
    next: int | None


def show(site: Site, asked: Asked, _caller: Caller) -> AuditView:
    subject, before = asked.first("subject").strip()[:200], asked.first("before")
    last = int(before) if before.isascii() and before.isdigit() and len(before) < 16 else None
    entries = site.audit.entries(subject or None, before=last, limit=PAGE)
    return AuditView(tuple(entries), subject, entries[-1].id if len(entries) == PAGE else None)
