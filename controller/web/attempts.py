"""How often an address may be wrong about a token before it has to wait. A secret has 256 bits: this spares the database, and shows in a log."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque

WINDOW_S = 300.0
ALLOWED = 10
MAX_ADDRESSES = 10_000


class Attempts:
    """Any thread. Of more addresses than `MAX_ADDRESSES` the longest known are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """How long `client` has to wait before it may try; 0 = it may."""
        with self._lock:
            times = self._failed.get(_network(client))
            if times is None or len(times) < ALLOWED:
                return 0.0
            return max(0.0, times[0] + WINDOW_S - now_s)

    def failed(self, client: str, now_s: float) -> None:
        """`client` was wrong."""
        key = _network(client)
        with self._lock:
            times = self._failed.setdefault(key, deque(maxlen=ALLOWED))
            times.append(now_s)
            self._failed.move_to_end(key)
            if len(self._failed) > MAX_ADDRESSES:
                self._failed.popitem(last=False)


def _network(client: str) -> str:
    """An IPv6 host has 2⁶⁴ addresses of its own: its network counts."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return str(address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
