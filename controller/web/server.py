"""Serves the web side: TLS wherever others could listen, bounded in connections and time, and nothing about tokens in its log."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from ...core.errors import Rejected, Unfit

MAX_CONNECTIONS = 200
IDLE_S = 15
GRACE_S = 3
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Tls:
    """The page's certificate and key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. `proxy` is the address of a proxy that does the TLS, and whose words about its clients are believed."""

    host: str
    port: int
    tls: Tls | None = None
    proxy: str | None = None

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_listen(text: str, tls: Tls | None, proxy: str | None) -> Listen:
    """``HOST:PORT``, an IPv6 address in brackets.

    Raises:
        Rejected: ``listen-malformed``; ``dashboard-not-encrypted``: others could read tokens on their way.
    """
    hint = "Use HOST:PORT, as 127.0.0.1:8080 or [::1]:8080"
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Rejected("listen-malformed", f"{text!r} is no address: {error}", hint) from error
    if not host or port is None or parts.path or parts.username is not None:
        raise Rejected("listen-malformed", f"{text!r} is no address", hint)
    listen = Listen(host, port, tls, proxy)
    if proxy is not None:
        _check_proxy(proxy)
    if not listen.is_loopback and tls is None and proxy is None:
        message = f"at {host} others could read tokens on their way"
        raise Rejected("dashboard-not-encrypted", message, "Give --tls-host, or --tls-certificate and --tls-key, or --behind-proxy ADDRESS")
    return listen


def _check_proxy(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError as error:
        raise Rejected("listen-malformed", f"{proxy!r} is no address of a proxy", "Use an IP address or network") from error


class WebServer:
    """Bound when it is made; `run` serves until SIGTERM or SIGINT, in the main thread."""

    def __init__(self, app: ASGIApp, listen: Listen) -> None:
        """Raises:
        Unfit: ``dashboard-address-taken``, ``tls-files-unusable``.
        """
        self._listen = listen
        self._check_tls()
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            proxy_headers=listen.proxy is not None,
            forwarded_allow_ips=listen.proxy or "",
            limit_concurrency=MAX_CONNECTIONS,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=None if listen.tls is None else str(listen.tls.certificate),
            ssl_keyfile=None if listen.tls is None else str(listen.tls.key),
        )
        self._server = uvicorn.Server(config)
        self._socket = _bound(listen)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def address(self) -> str:
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return f"{'http' if self._listen.tls is None else 'https'}://{host}:{self.port}"

    def run(self) -> None:
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """From another thread: `run` returns soon."""
        self._server.should_exit = True

    def close(self) -> None:
        self._socket.close()

    def _check_tls(self) -> None:
        if self._listen.tls is None:
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self._listen.tls.certificate, self._listen.tls.key)
        except (OSError, ssl.SSLError) as error:
            message = f"the certificate {self._listen.tls.certificate} and its key cannot be used: {error.strerror or error}"
            raise Unfit("tls-files-unusable", message, "Give a certificate and the key that it belongs to, both in PEM") from error


def _bound(listen: Listen) -> socket.socket:
    try:
        family = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0][0]
        found = socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"{listen.host}:{listen.port} cannot be listened on: {error.strerror or error}"
        raise Unfit("dashboard-address-taken", message, "Choose another --listen") from error
    found.set_inheritable(False)
    return found
