"""The tables of who may do what, and of who did what."""

from __future__ import annotations

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Table


class AuditRow(Table):
    """One deed: who did what to what. Never changed, never deleted by this program."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, init=False, autoincrement=True)
    time_s: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")

    __table_args__ = (Index("audit_by_subject", "subject", "id"),)


class TokenRow(Table):
    """One API token. Only the hash of its secret is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    hash: Mapped[str]
    created_s: Mapped[float]
    expires_s: Mapped[float | None] = mapped_column(default=None)
    revoked_s: Mapped[float | None] = mapped_column(default=None)


class LeaseRow(Table):
    """A piece of work that one controller process holds until `until_s`."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until_s: Mapped[float]
