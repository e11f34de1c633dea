"""Asks an ASGI application as a browser or a program would, without a network: cookies are kept, redirects are not followed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Got:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the problem that the answer is."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        return str(self.json["code"])


@dataclass
class Client:
    """One browser, or one program with `token`. `origin` is the page that its forms come from."""

    app: Any
    token: str | None = None
    scheme: str = "http"
    address: str = "192.0.2.7"
    host: str = "fleet.example"
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookie: str = ""

    def get(self, path: str, **headers: str) -> Got:
        return self.ask("GET", path, b"", headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Got:
        """A form, as a page of this site sends it."""
        sent = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", "origin": f"{self.scheme}://{self.host}"}
        return self.ask("POST", path, urlencode(fields or {}).encode(), sent | headers)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Got:
        """JSON, as a program sends it."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(method, path, data, {"content-type": "application/json"} | headers)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Got:
        sent = {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.token is not None:
            sent["authorization"] = f"Bearer {self.token}"
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        got = asyncio.run(self._call(method, path, body, sent))
        self._keep(got)
        return got

    def _keep(self, got: Got) -> None:
        self.set_cookie = got.headers.get("set-cookie", "")
        for name, morsel in SimpleCookie(self.set_cookie).items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value

    async def _call(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Got:
        plain, _, query = path.partition("?")
        from urllib.parse import unquote

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "path": unquote(plain),
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": (self.address, 50000),
            "server": (self.host, 443),
        }
        pending, sent = [{"type": "http.request", "body": body, "more_body": False}], []

        async def receive() -> dict[str, Any]:
            return pending.pop(0) if pending else await asyncio.Event().wait()  # type: ignore[return-value] # nobody hangs up

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Got(start["status"], found, b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body"))
