"""Who asks, and whether they may: a bearer token, or the cookie of a session that began with one.

Programs send the token with each request. Browsers send a cookie, whatever page made them ask: a deed by cookie needs the session's form secret,
and must come from this page itself by the browser's own word (``Sec-Fetch-Site``, ``Origin``).
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...core.errors import Rejected
from ..tokens import Holder, Role, Tokens
from .asked import Asked
from .attempts import Attempts
from .sessions import Sessions

log = logging.getLogger(__name__)

COOKIE = "edgewright"
SECURE_COOKIE = "__Host-edgewright"
FORM_SECRET = "form_secret"  # noqa: S105 - the name of a field
LOOKING = "x-looking"  # what a page that refreshes itself sends: nobody need sit before it
MAX_TOKEN = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `form_secret` belongs into the forms that a session is shown; None for a program."""

    holder: Holder
    form_secret: str | None

    @property
    def actor(self) -> str:
        return self.holder.actor

    def must(self, needed: Role) -> None:
        """Raises:
        Rejected: ``forbidden``.
        """
        if not self.holder.may(needed):
            message = f"the token {self.holder.name!r} has the role {self.holder.role}, this needs {needed}"
            raise Rejected("forbidden", message, f"Use a token with the role {needed}: edgewright fleet tokens create NAME --role {needed}")


class Access:
    """Any thread."""

    def __init__(self, tokens: Tokens, sessions: Sessions, attempts: Attempts) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._attempts = attempts

    def of_program(self, asked: Asked, now_s: float) -> Caller:
        """Who asks by a bearer token; what only looks may come by a session's cookie as well.

        Raises:
            Rejected: ``unauthenticated``, ``too-many-attempts``.
        """
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Caller(self._holder(asked, token.strip(), now_s), None)
        caller = self.of_browser(asked, now_s) if asked.method == "GET" else None
        if caller is None:
            raise Rejected(
                "unauthenticated", "this needs a token", "Send it as Authorization: Bearer TOKEN; edgewright fleet tokens create makes one"
            )
        return caller

    def of_browser(self, asked: Asked, now_s: float) -> Caller | None:
        """Who asks by a session's cookie; None when nobody is logged in."""
        secret = _secret(asked)
        is_use = LOOKING not in asked.headers
        session = self._sessions.find(secret, now_s, is_use=is_use) if secret else None
        holder = None if session is None else self._tokens.still_good(session.token, now_s)
        if session is None or holder is None:
            self._sessions.end(secret)
            return None
        return Caller(holder, session.csrf)

    def check_deed(self, asked: Asked, caller: Caller) -> None:
        """A form that was sent by cookie is one that this page has shown to this session.

        Raises:
            Rejected: ``form-foreign``.
        """
        self.check_origin(asked)
        given = asked.form().get(FORM_SECRET, "")
        if caller.form_secret is None or not hmac.compare_digest(given.encode(), caller.form_secret.encode()):
            raise _foreign()

    def check_origin(self, asked: Asked) -> None:
        """Raises:
        Rejected: ``form-foreign``: the browser says that another page sent this.
        """
        site, origin = asked.headers.get("sec-fetch-site"), asked.headers.get("origin")
        if site is not None and site not in {"same-origin", "none"}:
            raise _foreign()
        if origin is not None and urlsplit(origin).netloc != asked.headers.get("host", ""):
            raise _foreign()

    def log_in(self, asked: Asked, token: str, now_s: float) -> str:
        """Begin a session; returns its secret. One that the browser had ends.

        Raises:
            Rejected: ``unauthenticated``, ``too-many-attempts``, ``form-foreign``.
        """
        self.check_origin(asked)
        holder = self._holder(asked, token.strip(), now_s)
        self._sessions.end(_secret(asked))
        log.info("%s logged in from %s", holder.actor, asked.client)
        return self._sessions.begin(holder.token, now_s)

    def log_out(self, asked: Asked) -> None:
        self._sessions.end(_secret(asked))

    def _holder(self, asked: Asked, token: str, now_s: float) -> Holder:
        wait_s = self._attempts.wait_s(asked.client, now_s)
        if wait_s > 0:
            raise Rejected("too-many-attempts", "too many wrong tokens came from this address", f"Wait {wait_s:.0f} s")
        holder = self._tokens.holder(token, now_s) if len(token) <= MAX_TOKEN else None
        if holder is None:
            self._attempts.failed(asked.client, now_s)
            log.warning("A wrong token came from %s", asked.client)
            raise Rejected("unauthenticated", "the token is not good", "It may be mistyped, expired or revoked: edgewright fleet tokens list")
        return holder


def set_cookie(secret: str, *, is_secure: bool) -> str:
    """The header that gives a browser its session. The prefix binds it to this very host, where there is TLS."""
    flags = "Path=/; HttpOnly; SameSite=Strict"
    return f"{SECURE_COOKIE}={secret}; {flags}; Secure" if is_secure else f"{COOKIE}={secret}; {flags}"


def unset_cookie(*, is_secure: bool) -> str:
    return set_cookie("", is_secure=is_secure) + "; Max-Age=0"


def _secret(asked: Asked) -> str:
    return asked.cookies.get(SECURE_COOKIE if asked.is_secure else COOKIE, "")


def _foreign() -> Rejected:
    return Rejected("form-foreign", "this did not come from a page of this login", "Load the page again and repeat it there")
