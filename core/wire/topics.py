"""Topic names of the wire (DESIGN §8): ``ew/v1/{fleet}/{device}/{channel}``. Pure.

Rules: names of fleets and devices are ``[a-z0-9-]{1,64}``, so that ``_all`` stays free for what every device of a fleet may one day read;
at most six slashes, so that brokers with AWS IoT Core's limits carry them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import Rejected

PREFIX = "ew/v1"

Channel = Literal[
    "status", "capabilities", "desired", "reported", "event", "telemetry", "get", "blob", "command", "reply", "profile",
]  # fmt: skip
CHANNELS: tuple[Channel, ...] = get_args(Channel)

RETAINED: frozenset[Channel] = frozenset({"status", "capabilities", "desired", "reported"})
AT_MOST_ONCE: frozenset[Channel] = frozenset({"telemetry", "get", "blob"})
TO_DEVICE: tuple[Channel, ...] = ("desired", "blob", "command")
FROM_DEVICE: tuple[Channel, ...] = ("status", "capabilities", "reported", "event", "telemetry", "get", "reply", "profile")

_NAME = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Address:
    """Who a topic belongs to, and which channel it is."""

    fleet: str
    device: str
    channel: Channel


def check_name(name: str, *, what: str) -> str:
    """`name` itself when it may name a fleet or a device.

    Raises:
        Rejected: ``bad-name``.
    """
    if not _NAME.fullmatch(name):
        raise Rejected("bad-name", f"{name!r} cannot name a {what}", "Use 1 to 64 of a-z, 0-9 and -")
    return name


def topic(fleet: str, device: str, channel: Channel) -> str:
    return f"{PREFIX}/{fleet}/{device}/{channel}"


def broadcast_topic(fleet: str, digest: str) -> str:
    """Where the chunks of one blob are sent to all who listen; no device's name is ``_all``."""
    return f"{PREFIX}/{fleet}/_all/blob/{digest}"


def qos_of(channel: Channel) -> int:
    """What is asked for again, or comes again by itself, is sent once; everything else until the broker has it."""
    return 0 if channel in AT_MOST_ONCE else 1


def fleet_filter(fleet: str, channel: Channel) -> str:
    """The controller's subscription to one channel of every device."""
    return f"{PREFIX}/{fleet}/+/{channel}"


def parse_topic(text: str) -> Address | None:
    """The address of a device topic; None for anything else, broadcast streams included."""
    parts = text.split("/")
    if len(parts) != 5 or f"{parts[0]}/{parts[1]}" != PREFIX:
        return None
    _, _, fleet, device, channel = parts
    if channel not in CHANNELS or not _NAME.fullmatch(fleet) or not _NAME.fullmatch(device):
        return None
    return Address(fleet, device, channel)


def client_id(fleet: str, name: str) -> str:
    """The MQTT client id of a device, or of the controller. The separator is in no name: fleets may share a broker."""
    return f"{fleet}_{name}"
