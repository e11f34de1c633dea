"""What a connection has cost: the data bill, counted by the kernel."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

_TCP_INFO_OFFSET = 120
_TCP_INFO_COUNTS = struct.Struct("=QQ")
_TCP_INFO_BYTES = _TCP_INFO_OFFSET + _TCP_INFO_COUNTS.size


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that TCP has carried for us, TLS and MQTT headers among them, without its own headers and repetitions."""

    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.sent_bytes + self.received_bytes

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.sent_bytes + other.sent_bytes, self.received_bytes + other.received_bytes)


def traffic_of(sock: Any) -> Traffic:
    """``tcpi_bytes_acked`` and ``tcpi_bytes_received`` of ``struct tcp_info`` (linux/tcp.h, since Linux 4.1)."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except (AttributeError, OSError):  # no connection, or none of TCP
        return Traffic()
    return Traffic(*_TCP_INFO_COUNTS.unpack_from(info, _TCP_INFO_OFFSET)) if len(info) >= _TCP_INFO_BYTES else Traffic()
