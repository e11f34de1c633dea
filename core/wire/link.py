"""The MQTT link: one connection that keeps itself alive. MQTT 3.1.1 semantics, QoS 0 and 1, by paho-mqtt.

What it adds to paho, each for a measured reason:
- TCP_NODELAY on the socket (paho leaves Nagle on: a third of the throughput at small windows);
- subscriptions are made inside every connect (a clean session forgets them without a word), and the link counts as up when the broker has
  confirmed them: by then paho has repeated what an earlier connection left unacknowledged, so that it cannot overtake what is new;
- callbacks are wrapped (an exception in one would end paho's thread while ``is_connected`` stays true);
- a payload is measured before it is published (a broker that refuses it would drop the connection over it for ever);
- the reconnect delay grows with jitter, and grows on while connections end young: two clients with one id kick each other once a second
  for ever otherwise. Three young ends within ten seconds are told as a problem.

The handler's methods run on paho's thread and must only enqueue.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ..errors import Reason, Rejected
from .frames import MAX_PAYLOAD_BYTES
from .proxy import Proxy, use_proxy
from .traffic import Traffic, traffic_of

log = logging.getLogger(__name__)

YOUNG_S = 5.0
CONTESTED_COUNT = 3
CONTESTED_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a mutually authenticated connection."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message that waits to be acknowledged, of the how-manieth connection."""

    connection: int
    message_id: int
    qos: int


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when this client vanishes."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Where to connect and as whom. `keeps_session`: what comes by QoS 1 while we are away waits at the broker, where it does that."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: TlsFiles | None = None
    keepalive_s: int = 30
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 30.0
    proxy: Proxy | None = None
    keeps_session: bool = False


class LinkHandler(Protocol):
    """Who is told. All of it is called on paho's thread."""

    def link_up(self) -> None:
        """Connected and subscribed: announce everything again."""

    def link_down(self, reason: str) -> None:
        """Not connected any more; called once for each `link_up` but the one that `Link.stop` ends."""

    def link_message(self, topic: str, payload: bytes) -> None: ...

    def link_published(self, message_id: int) -> None:
        """The broker has taken the QoS 1 message `message_id` (or a QoS 0 one has left)."""

    def link_problem(self, reason: Reason) -> None:
        """Something that a person has to look at."""


class Backoff:
    """The delay before the next attempt: doubling, with full jitter above the minimum. Pure but for its random source."""

    def __init__(self, minimum_s: float, maximum_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._minimum_s = minimum_s
        self._maximum_s = maximum_s
        self._uniform = uniform
        self._failures = 0

    def delay_s(self) -> float:
        """The delay after one more failure."""
        ceiling = min(self._maximum_s, self._minimum_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._uniform(self._minimum_s / 2, max(self._minimum_s, ceiling))

    def reset(self) -> None:
        self._failures = 0


class Link:
    """One client. `start` returns at once; the first connection is retried like every other. `next_will` is asked once per connection.

    With `on_receipt` messages go there, on paho's thread, instead of to the handler, and the broker counts them as received when `acknowledge` says
    so: until then it sends them again on the next connection.

    Raises:
        Rejected: ``tls-files-unusable``.
        Unfit: ``proxy-unavailable``.
    """

    def __init__(
        self,
        options: LinkOptions,
        handler: LinkHandler,
        subscriptions: Sequence[tuple[str, int]],
        next_will: Callable[[], Will] | None = None,
        on_receipt: Callable[[str, bytes, Receipt], None] | None = None,
    ) -> None:
        self._options = options
        self._handler = handler
        self._subscriptions = list(subscriptions)
        self._backoff = Backoff(options.reconnect_min_s, options.reconnect_max_s)
        self._is_up = False
        self._connected_s: float | None = None
        self._subscribing: int | None = None
        self._one_more: int | None = None
        self._past = Traffic()
        self._early_ends: deque[float] = deque(maxlen=CONTESTED_COUNT)
        self._on_receipt = on_receipt
        self._connection = 0
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=mqtt.MQTTv311,
            clean_session=not options.keeps_session,
            reconnect_on_failure=True,
            manual_ack=on_receipt is not None,
        )
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        self._tls: ssl.SSLContext | None = None
        if options.tls is not None:
            self._tls = _use_tls(client, options.tls)
        if options.proxy is not None:
            use_proxy(client, options.proxy)
        self._next_will = next_will
        self._renew_will()
        client.on_socket_open = self._wrapped(_set_nodelay)
        client.on_socket_close = self._wrapped(self._on_socket_close)
        client.on_connect = self._wrapped(self._on_connect)
        client.on_connect_fail = self._wrapped(self._on_connect_fail)
        client.on_disconnect = self._wrapped(self._on_disconnect)
        client.on_subscribe = self._wrapped(self._on_subscribe)
        client.on_message = self._wrapped(self._on_message)
        client.on_publish = self._wrapped(self._on_publish)
        client.max_inflight_messages_set(20)

    @property
    def is_connected(self) -> bool:
        return self._is_up

    @property
    def is_alive(self) -> bool:
        """Whether paho's thread runs, connected or not. An error that nobody expected would end it without a word."""
        thread = self._client._thread  # noqa: SLF001 - paho tells it nowhere else
        return thread is not None and thread.is_alive()

    @property
    def traffic(self) -> Traffic:
        """All connections of this link so far."""
        return self._past + traffic_of(self._client.socket())

    def start(self) -> None:
        """Connect in the background.

        Raises:
            Rejected: ``broker-address-invalid``.
        """
        host, port = self._options.host, self._options.port
        try:
            host.encode("idna")  # the resolver would end paho's thread over it
            self._client.connect_async(host, port, keepalive=self._options.keepalive_s)
        except ValueError as error:
            raise Rejected("broker-address-invalid", f"{host!r}, port {port}, is no address: {error}", "Correct the broker's address") from error
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect in order and end the thread; the will is not published."""
        self._is_up = False
        self._client.disconnect()
        self._client.loop_stop()

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """Log in with this certificate from the next connection on.

        Raises:
            OSError: it does not fit its key, or cannot be read; the one before is used still.
        """
        assert self._tls is not None
        self._tls.load_cert_chain(certificate, key)

    def subscribe_again(self) -> None:
        """Ask the broker for everything that it retains once more."""
        if self._is_up and self._subscriptions:
            self._client.subscribe(self._subscriptions)

    def subscribe(self, topic: str, qos: int) -> None:
        """Hear one topic more until `unsubscribe`, or until the connection ends."""
        if self._is_up:
            self._one_more = self._client.subscribe(topic, qos)[1]

    def unsubscribe(self, topic: str) -> None:
        if self._is_up:
            self._client.unsubscribe(topic)

    def acknowledge(self, receipt: Receipt) -> None:
        """The message is in safe hands. One of an earlier connection comes again by itself. Any thread."""
        if receipt.qos and receipt.connection == self._connection:
            self._client.ack(receipt.message_id, receipt.qos)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        """Hand one message over; returns its id, or None when the link is down: nothing is queued behind the caller's back.

        A QoS 1 message that was handed over is sent until the broker has it, over reconnects too; a QoS 0 message may be lost.

        Raises:
            Rejected: ``message-too-large``.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise Rejected("message-too-large", f"a message of {len(payload)} bytes for {topic}", "Send less in one message")
        if not self._is_up:
            return None
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        # Without a connection paho keeps a QoS 1 message and drops one of QoS 0.
        is_taken = info.rc == mqtt.MQTT_ERR_SUCCESS or (qos > 0 and info.rc != mqtt.MQTT_ERR_QUEUE_SIZE)
        return info.mid if is_taken else None

    def _wrapped(self, callback: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                log.exception("A callback of the MQTT link failed")

        return guarded

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._wait_longer()
            self._handler.link_problem(
                Reason("broker-refused", f"the broker refuses this client: {code}", "Check its name, password or certificate", "rejected")
            )
            return
        self._connected_s = time.monotonic()
        self._connection += 1
        if self._subscriptions:
            self._subscribing = client.subscribe(self._subscriptions)[1]
        else:
            self._up()

    def _on_subscribe(self, _client: mqtt.Client, _userdata: Any, message_id: int, codes: Sequence[Any], _properties: Any) -> None:
        if message_id == self._one_more:  # refused or not: who asks for one topic more can do without
            return
        refused = [name for (name, _), code in zip(self._subscriptions, codes, strict=False) if code.is_failure]
        if refused:
            message = f"the broker refuses the subscription to {', '.join(refused)}"
            self._handler.link_problem(Reason("subscription-refused", message, "Check the broker's access rules", "rejected"))
        if message_id == self._subscribing and not self._is_up:
            self._up()

    def _up(self) -> None:
        self._is_up = True
        self._handler.link_up()

    def _on_socket_close(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:
        self._past += traffic_of(sock)

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: Any) -> None:
        self._wait_longer()

    def _on_disconnect(self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if self._connected_s is None:  # paho says it twice after a silent loss, and after a refused login
            return
        now_s, connected_s, was_up = time.monotonic(), self._connected_s, self._is_up
        self._is_up, self._connected_s, self._subscribing = False, None, None
        self._renew_will()
        if now_s - connected_s >= YOUNG_S:
            self._backoff.reset()
            self._early_ends.clear()
        else:
            self._early_ends.append(now_s)
        self._wait_longer()
        if len(self._early_ends) == CONTESTED_COUNT and now_s - self._early_ends[0] <= CONTESTED_WINDOW_S:
            client_id = self._options.client_id
            message = f"the connection of {client_id!r} ended {CONTESTED_COUNT} times within {CONTESTED_WINDOW_S:g} s"
            self._handler.link_problem(Reason("client-id-contested", message, "Check that no other device uses this name", "rejected"))
        if was_up:
            self._handler.link_down(str(code))

    def _renew_will(self) -> None:
        if self._next_will is not None:
            will = self._next_will()
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)

    def _wait_longer(self) -> None:
        # paho doubles without jitter between these bounds; equal bounds make the delay ours.
        delay_s: Any = self._backoff.delay_s()
        self._client.reconnect_delay_set(delay_s, delay_s)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if self._on_receipt is None:
            self._handler.link_message(message.topic, bytes(message.payload))
        else:
            self._on_receipt(message.topic, bytes(message.payload), Receipt(self._connection, message.mid, message.qos))

    def _on_publish(self, _client: mqtt.Client, _userdata: Any, message_id: int, *_: Any) -> None:
        self._handler.link_published(message_id)


def _use_tls(client: mqtt.Client, files: TlsFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.ca)
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError) as error:  # what is wrong inside a PEM file is an OSError as well
        names = ", ".join(str(path) for path in (files.ca, files.certificate, files.key) if path is not None)
        raise Rejected("tls-files-unusable", f"the TLS files {names} cannot be used: {error}", "Give PEM files that this user may read") from error
    client.tls_set_context(context)
    return context


def _set_nodelay(_client: mqtt.Client, _userdata: Any, sock: Any) -> None:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
