"""What every answer carries besides its body, whatever made it; and the count of requests. The outermost layer."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing from elsewhere, no script or style inside a page, no frame around one.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
NOT_KEPT = "no-store"
KEPT = "public, max-age=31536000, immutable"
YEAR = "max-age=31536000"
UNROUTED = "none"


class Headers:
    """Adds them, and tells `count` of method, route, status and seconds."""

    def __init__(self, app: ASGIApp, count: Callable[[str, str, int, float], None]) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.monotonic()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", NOT_KEPT)
                if scope.get("scheme") == "https":
                    headers.setdefault("strict-transport-security", YEAR)
                self._count(scope["method"], _route(scope), message["status"], time.monotonic() - begun_s)
            await send(message)

        await self._app(scope, receive, sending)


def _route(scope: Scope) -> str:
    """The route's pattern: a path itself could have any number of values."""
    return str(getattr(scope.get("route"), "path", UNROUTED))
