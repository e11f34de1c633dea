"""The MQTT session: announces the device's whole state on every connect, and hands what arrives to the daemon's loop.

Nothing is remembered here: what is published is a projection of the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from .. import __version__
from ..core.errors import EdgewrightError, Reason, Rejected
from ..core.wire.link import Link, LinkOptions, TlsFiles, Will
from ..core.wire.messages import Capabilities, Get, Message, Reported, Status, encode
from ..core.wire.proxy import proxy_from_url
from ..core.wire.topics import RETAINED, Channel, broadcast_topic, client_id, topic
from ..core.wire.traffic import Traffic
from .config import AgentConfig
from .identity import certificate_of
from .inbox import Request
from .logs import about

log = logging.getLogger(__name__)

SESSIONS_PER_START = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Where the loop takes things; all are called in the loop."""

    up: Callable[[], None]
    down: Callable[[], None]
    envelope: Callable[[Literal["desired", "command"], bytes], None]
    blob: Callable[[bytes], None]
    published: Callable[[int], None]
    problem: Callable[[Reason], None]


class Session:
    """One device's connection. `post` schedules a call in the daemon's loop."""

    def __init__(
        self, fleet: str, device: str, options: LinkOptions, boot_id: str, starts: int, arrivals: Arrivals, post: Callable[..., None]
    ) -> None:
        self.fleet = self._fleet = fleet
        self.device = self._device = device
        self._boot_id = boot_id
        self._arrivals = arrivals
        self._post = post
        self.number = starts * SESSIONS_PER_START
        self._envelopes: dict[str, Literal["desired", "command"]] = {
            topic(fleet, device, "desired"): "desired",
            topic(fleet, device, "command"): "command",
        }
        self._blob_topic = topic(fleet, device, "blob")
        self._broadcast = ""
        subscriptions = [(name, 1) for name in self._envelopes] + [(self._blob_topic, 0)]
        self._link = Link(options, self, subscriptions, self._next_will)

    def start(self) -> None:
        self._link.start()

    def stop(self) -> None:
        """Say goodbye, then disconnect: the will is for those who cannot."""
        self._publish("status", self._status(online=False))
        self._link.stop()

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """As `Link.use_certificate`."""
        self._link.use_certificate(certificate, key)

    @property
    def is_connected(self) -> bool:
        return self._link.is_connected

    @property
    def is_alive(self) -> bool:
        """Whether the link's thread runs, connected or not."""
        return self._link.is_alive

    @property
    def traffic(self) -> Traffic:
        """What this process has cost on the wire so far."""
        return self._link.traffic

    def _status(self, *, online: bool) -> Status:
        return Status(fleet=self._fleet, device=self._device, online=online, boot_id=self._boot_id, session=self.number, agent_version=__version__)

    def _next_will(self) -> Will:
        """Each connection has a number of its own, so that the will of a dead one cannot mark a newer one dead."""
        self.number += 1
        return Will(topic(self._fleet, self._device, "status"), encode(self._status(online=False)))

    # --- in the loop ---

    def announce(self, capabilities: Capabilities | None) -> None:
        """What this device is, after a connect. What is on it follows by `report`."""
        self._publish("status", self._status(online=True))
        if capabilities is not None:
            self._publish("capabilities", capabilities)

    def report(self, reported: Reported) -> None:
        """The device's truth. Too long for one message, it goes without measurements: those have gone as events."""
        try:
            self._publish("reported", reported)
        except EdgewrightError as error:
            if error.code != "message-too-large":
                raise
            models = {name: msgspec.structs.replace(report, measurement=None) for name, report in reported.models.items()}
            self._publish("reported", msgspec.structs.replace(reported, models=models))

    def publish(self, channel: Channel, message: Message) -> int | None:
        return self._publish(channel, message)

    def publish_event(self, payload: bytes) -> int | None:
        return self._link.publish(topic(self._fleet, self._device, "event"), payload, qos=1)

    def publish_profile(self, payload: bytes) -> int | None:
        return self._link.publish(topic(self._fleet, self._device, "profile"), payload, qos=1)

    def publish_telemetry(self, payload: bytes) -> int | None:
        """What was spooled: it is deleted when the broker has it."""
        return self._link.publish(topic(self._fleet, self._device, "telemetry"), payload, qos=1)

    def ask(self, request: Request) -> bool:
        """Send one request for chunks, or word that we listen to the broadcast of the blob, which is subscribed to meanwhile; a request for nothing
        ends that. False when the link is down.
        """
        self._listen_to("" if request.heard is None else broadcast_topic(self._fleet, request.digest))
        if not request.ranges and request.heard is None:
            return self.is_connected
        get = Get(
            fleet=self._fleet,
            device=self._device,
            digest=request.digest,
            ranges=request.ranges,
            window=request.window,
            heard=request.heard,
        )
        return self._link.publish(topic(self._fleet, self._device, "get"), encode(get), qos=0) is not None

    def _listen_to(self, name: str) -> None:
        if name != self._broadcast:
            if self._broadcast:
                self._link.unsubscribe(self._broadcast)
            if name:
                self._link.subscribe(name, 0)
            self._broadcast = name

    def _publish(self, channel: Channel, message: Any) -> int | None:
        qos = 0 if channel == "telemetry" else 1
        return self._link.publish(topic(self._fleet, self._device, channel), encode(message), qos=qos, retain=channel in RETAINED)

    # --- LinkHandler, on paho's thread: everything is only posted ---

    def link_up(self) -> None:
        self._broadcast = ""  # the subscription went with the last connection
        self._post(self._arrivals.up)

    def link_down(self, reason: str) -> None:
        log.warning("The connection to the broker ended: %s", reason)
        self._post(self._arrivals.down)

    def link_message(self, topic: str, payload: bytes) -> None:
        if topic in {self._blob_topic, self._broadcast}:
            self._post(self._arrivals.blob, payload)
        elif topic in self._envelopes and payload:
            self._post(self._arrivals.envelope, self._envelopes[topic], payload)

    def link_published(self, message_id: int) -> None:
        self._post(self._arrivals.published, message_id)

    def link_problem(self, reason: Reason) -> None:
        log.error("%s", reason.line(), extra=about(reason=reason))
        self._post(self._arrivals.problem, reason)


def link_options(config: AgentConfig) -> LinkOptions:
    """How to reach the broker; reads the password file.

    Raises:
        Rejected: ``config-bad-value`` when a file that the config names cannot be read.
    """
    broker = config.broker
    password = _secret(config, broker.password_file, "broker.password_file")
    proxy = None
    if broker.proxy is not None:
        proxy = proxy_from_url(broker.proxy, _secret(config, broker.proxy_password_file, "broker.proxy_password_file"))
    tls = None
    if broker.tls_ca is not None:
        tls = TlsFiles(config.folder / broker.tls_ca, certificate_of(config), _maybe(config, broker.tls_key))
        for file in (tls.ca, tls.certificate, tls.key):
            if file is not None and not file.is_file():
                raise Rejected("config-bad-value", f"the TLS file {file} is not there", "Correct broker.tls_ca, tls_certificate or tls_key")
    return LinkOptions(
        host=broker.host,
        port=broker.port,
        client_id=client_id(config.fleet, config.device),
        username=broker.username,
        password=password,
        tls=tls,
        keepalive_s=broker.keepalive_s,
        reconnect_min_s=broker.reconnect_min_s,
        reconnect_max_s=broker.reconnect_max_s,
        proxy=proxy,
    )


def _secret(config: AgentConfig, name: str | None, key: str) -> str | None:
    if name is None:
        return None
    try:
        return (config.folder / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the password file {config.folder / name} cannot be read: {error}"
        raise Rejected("config-bad-value", message, f"Correct {key}, or the file's owner and mode") from error


def _maybe(config: AgentConfig, name: str | None) -> Path | None:
    return None if name is None else config.folder / name
