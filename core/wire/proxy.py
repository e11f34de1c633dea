"""A proxy between a client and its broker: HTTP's CONNECT, or SOCKS 4 and 5. TLS goes through it to the broker itself, so it reads nothing.

The work is PySocks', by paho's own way to it; see docs/adr/0031-a-proxy-by-pysocks.md. Imported where a proxy is configured only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from ..errors import Rejected, Unfit

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

KINDS: dict[str, Literal["HTTP", "SOCKS4", "SOCKS5"]] = {"http": "HTTP", "socks4": "SOCKS4", "socks5": "SOCKS5", "socks5h": "SOCKS5"}
HINT = "Use http://[USER@]HOST:PORT, or socks5://[USER@]HOST:PORT"


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it is, and as whom to pass. Names are looked up by the proxy: a closed network knows none from outside."""

    kind: Literal["HTTP", "SOCKS4", "SOCKS5"]
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def proxy_from_url(text: str, password: str | None = None) -> Proxy:
    """The proxy at ``http://[USER@]HOST:PORT`` or ``socks5://…``; its password comes from a file, never from the URL.

    Raises:
        Rejected: ``proxy-malformed``.
    """
    try:
        parts = urlsplit(text)
        host, port, kind = parts.hostname, parts.port, KINDS.get(parts.scheme)
    except ValueError as error:
        raise Rejected("proxy-malformed", f"the proxy's address is none: {error}", HINT) from error
    if parts.password is not None:
        raise Rejected("proxy-malformed", "the proxy's password does not belong into its address", "Put it into a file: proxy_password_file")
    if kind is None or not host or port is None or parts.path.strip("/") or parts.query:
        raise Rejected("proxy-malformed", f"{text!r} is no proxy", HINT)
    return Proxy(kind, host, port, unquote(parts.username) if parts.username else None, password)


def use_proxy(client: mqtt.Client, proxy: Proxy) -> None:
    """Let `client` connect through `proxy`.

    Raises:
        Unfit: ``proxy-unavailable``.
    """
    try:
        import socks
    except ImportError as error:
        raise Unfit("proxy-unavailable", "PySocks is not installed", "pip install 'edgewright[proxy]'") from error
    client.proxy_set(
        proxy_type=getattr(socks, proxy.kind),
        proxy_addr=proxy.host,
        proxy_port=proxy.port,
        proxy_rdns=True,
        proxy_username=proxy.username,
        proxy_password=proxy.password,
    )
