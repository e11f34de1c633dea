"""API tokens: who may do what by HTTP. Only the hash of a token's secret is kept; the secret is shown once, when it is made.

A token is ``ewt_ID_SECRET``. The secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, get_args

import msgspec
from sqlalchemy import select

from ..core.errors import Rejected
from .account_tables import TokenRow
from .audit import note
from .database import Database

Role = Literal["viewer", "operator", "approver", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may: look; deploy, roll out, pause, resume, cancel, retry, roll back, label; approve; manage devices, tokens."""

_TOKEN = re.compile(r"ewt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9 ._@-]{1,64}")


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who a good token belongs to."""

    token: str
    name: str
    role: Role

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        return f"token:{self.name}"

    def may(self, needed: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(needed)


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    token: str
    name: str
    role: Role
    created_s: float
    expires_s: float | None
    revoked_s: float | None


class Tokens:
    """Makes, checks and revokes tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, role: Role, actor: str, now_s: float, life_s: float | None = None) -> str:
        """A new token, whole: it cannot be had again.

        Raises:
            Rejected: ``token-malformed``.
        """
        if not _NAME.fullmatch(name):
            raise Rejected("token-malformed", f"{name!r} cannot name a token", "Use 1 to 64 letters, digits, spaces and ._@-")
        if role not in ROLES:
            raise Rejected("token-malformed", f"there is no role {role!r}", f"Use one of {', '.join(ROLES)}")
        identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        expires_s = None if life_s is None else now_s + life_s
        with self._database.transaction() as session:
            session.add(TokenRow(id=identity, name=name, role=role, hash=_hash(secret), created_s=now_s, expires_s=expires_s))
            note(session, actor, "token.create", identity, now_s, f"{name}, {role}")
        return f"ewt_{identity}_{secret}"

    def holder(self, token: str, now_s: float) -> Holder | None:
        """Who `token` belongs to; None when it is not good, whatever the reason."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        with self._database.reading() as session:
            row = session.get(TokenRow, match[1])
            if row is None or not hmac.compare_digest(row.hash, _hash(match[2])):
                return None
            return _holder(row, now_s)

    def still_good(self, identity: str, now_s: float) -> Holder | None:
        """Who the token with this id belongs to, for somebody who has shown its secret before; None when it is good no more."""
        with self._database.reading() as session:
            row = session.get(TokenRow, identity)
            return None if row is None else _holder(row, now_s)

    def revoke(self, identity: str, actor: str, now_s: float) -> None:
        """From now on the token is not good any more.

        Raises:
            Rejected: ``token-unknown``.
        """
        with self._database.transaction() as session:
            row = session.get(TokenRow, identity)
            if row is None:
                raise Rejected("token-unknown", f"there is no token {identity!r}", "edgewright fleet tokens list")
            row.revoked_s = row.revoked_s or now_s
            note(session, actor, "token.revoke", identity, now_s, row.name)

    def all(self) -> list[TokenView]:
        with self._database.reading() as session:
            return [
                TokenView(
                    token=row.id,
                    name=row.name,
                    role=row.role,  # type: ignore[arg-type] # a column
                    created_s=row.created_s,
                    expires_s=row.expires_s,
                    revoked_s=row.revoked_s,
                )
                for row in session.scalars(select(TokenRow).order_by(TokenRow.created_s, TokenRow.id))
            ]


def _holder(row: TokenRow, now_s: float) -> Holder | None:
    if row.revoked_s is not None or (row.expires_s is not None and row.expires_s <= now_s):
        return None
    return Holder(token=row.id, name=row.name, role=row.role)  # type: ignore[arg-type] # a column


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
