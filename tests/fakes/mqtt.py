"""Real brokers on loopback, and clients that remember what they heard. Waits are bounded and end with what they wait for; none sleeps."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from edgewright.controller.access import CONTROLLER_USER
from edgewright.controller.broker import Kind, OwnBroker, find_mosquitto
from edgewright.controller.passwords import set_password
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Reason
from edgewright.core.wire.link import Link, LinkOptions, TlsFiles, Will
from paho.mqtt.enums import CallbackAPIVersion

FLEET = "fleet"
DEVICES = ("board-1", "board-2")
WAIT_S = 20.0
KINDS: tuple[Kind, ...] = ("mosquitto", "amqtt")


class Waiting:
    """Something that other threads change; `until` waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    @contextmanager
    def changing(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changed.notify_all()

    def until(self, look: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
        """What `look` sees as soon as it is true."""
        with self._changed:
            assert self._changed.wait_for(look, wait_s), "it did not happen in time"
            return look()


@dataclass(frozen=True, slots=True)
class Heard:
    topic: str
    payload: bytes
    retain: bool = False


@dataclass
class RecordingHandler(Waiting):
    """A LinkHandler that remembers; `fail_on` makes its callback for a topic fail."""

    ups: int = 0
    downs: list[str] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)
    fail_on: str = ""
    on_up: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        super().__init__()

    def link_up(self) -> None:
        self.on_up()
        with self.changing():
            self.ups += 1

    def link_down(self, reason: str) -> None:
        with self.changing():
            self.downs.append(reason)

    def link_message(self, topic: str, payload: bytes) -> None:
        if topic == self.fail_on:
            raise RuntimeError(topic)
        with self.changing():
            self.heard.append(Heard(topic, payload))

    def link_published(self, message_id: int) -> None:
        with self.changing():
            self.published.append(message_id)

    def link_problem(self, reason: Reason) -> None:
        with self.changing():
            self.problems.append(reason)

    def has_heard(self, topic: str, payload: bytes) -> bool:
        return Heard(topic, payload) in self.heard


class Client(Waiting):
    """A plain MQTT client: what anybody with a password could run."""

    def __init__(
        self,
        port: int,
        user: str,
        *,
        password: str | None = None,
        client_id: str = "",
        will: Will | None = None,
        clean: bool = True,
        tls: TlsFiles | None = None,
    ) -> None:
        super().__init__()
        self.heard: list[Heard] = []
        self.code: Any = None
        self.is_down = False
        self._subscribed: dict[int, list[Any]] = {}
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean, reconnect_on_failure=False)
        if tls is None:
            client.username_pw_set(user, password_of(user) if password is None else password)
        else:
            certificate, key = tls.certificate, tls.key
            client.tls_set(str(tls.ca), str(certificate) if certificate else None, str(key) if key else None)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message, client.on_subscribe = self._message, self._was_subscribed
        client.on_connect_fail = self._disconnected
        client.connect("127.0.0.1", port, keepalive=30)
        client.loop_start()
        self.until(lambda: self.code is not None or self.is_down)

    @property
    def is_in(self) -> bool:
        """Whether the broker has let it in, and has not ended the connection."""
        return self.code is not None and not self.code.is_failure and not self.is_down

    def _connected(self, _client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        with self.changing():
            self.code = code

    def _disconnected(self, *_: Any) -> None:
        with self.changing():
            self.is_down = True

    def _message(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self.changing():
            self.heard.append(Heard(message.topic, message.payload, bool(message.retain)))

    def _was_subscribed(self, _client: Any, _userdata: Any, message_id: int, codes: list[Any], _properties: Any) -> None:
        with self.changing():
            self._subscribed[message_id] = codes

    def subscribe(self, *filters: str, qos: int = 1) -> list[bool]:
        """Which of them the broker says it grants."""
        message_id = self._client.subscribe([(name, qos) for name in filters])[1]
        self.until(lambda: message_id in self._subscribed)
        return [not code.is_failure for code in self._subscribed[message_id]]

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Returns when the broker has taken it, or thrown it away without a word."""
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        info.wait_for_publish(WAIT_S)
        assert info.is_published()

    def until_heard(self, topic: str, payload: bytes) -> Heard:
        """The first message of that content."""

        def find() -> Heard | None:
            return next((entry for entry in self.heard if (entry.topic, entry.payload) == (topic, payload)), None)

        found: Heard = self.until(find)
        return found

    def vanish(self) -> None:
        """Cut the connection without a goodbye."""
        sock = self._client.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.until(lambda: self.is_down)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def log_in(port: int, user: str, **options: Any) -> Client:
    """The first login that succeeds: a broker's reload of its passwords shows by its effect alone."""
    deadline_s = time.monotonic() + WAIT_S
    while (client := Client(port, user, **options)).code.is_failure:
        client.close()
        assert time.monotonic() < deadline_s, f"{user} cannot log in"
    return client


def password_of(user: str) -> str:
    return f"password of {user}"


class Proxy(Waiting):
    """A TCP proxy before a broker: cuts its connections, or swallows what clients say."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.is_swallowing = False
        self.swallowed_bytes = 0

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                pump = threading.Thread(target=self._pump, args=(source, sink, source is near), daemon=True)
                self._threads.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        try:
            while data := source.recv(65536):
                if self.is_swallowing and is_client:
                    with self.changing():
                        self.swallowed_bytes += len(data)
                else:
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            _cut(end)

    def cut(self) -> None:
        """End every connection at once; new ones go through."""
        for end in self._sockets:
            _cut(end)

    def close(self) -> None:
        _cut(self._listener)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(WAIT_S)
        for end in self._sockets:
            end.close()


def _cut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class RunningBroker:
    """A broker with the fleet's controller and two devices as users; each test takes clients from it."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.paths = FleetPaths(folder)
        self.paths.make()
        for user in (CONTROLLER_USER, *DEVICES):
            set_password(self.paths.passwords, user, password_of(user))
        self.own = OwnBroker(self.paths, FLEET, kind)
        self.own.start()
        self._things: list[Client | Link | Proxy] = []

    @property
    def port(self) -> int:
        return self.own.port

    def client(self, user: str = CONTROLLER_USER, **options: Any) -> Client:
        client = Client(self.port, user, **options)
        self._things.append(client)
        return client

    def until_login(self, user: str, **options: Any) -> Client:
        """As `log_in`; the client is closed with the test."""
        client = log_in(self.port, user, **options)
        self._things.append(client)
        return client

    def options(self, user: str = CONTROLLER_USER, **changes: Any) -> LinkOptions:
        fields: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "client_id": f"link-{user}",
            "username": user,
            "password": password_of(user),
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 0.5,
        }
        return LinkOptions(**(fields | changes))

    def link(
        self,
        handler: RecordingHandler,
        subscriptions: list[tuple[str, int]] | None = None,
        next_will: Callable[[], Will] | None = None,
        **changes: Any,
    ) -> Link:
        """A started link, which is stopped with the test."""
        link = Link(self.options(**changes), handler, subscriptions or [], next_will)
        self._things.append(link)
        link.start()
        return link

    def proxy(self) -> Proxy:
        proxy = Proxy(self.port)
        self._things.append(proxy)
        return proxy

    def release(self) -> None:
        """End what the test has taken, the last first, and forget what it left at the broker."""
        for thing in reversed(self._things):
            thing.stop() if isinstance(thing, Link) else thing.close()
        self._things.clear()
        cleaner = self.client()
        cleaner.subscribe(f"ew/v1/{FLEET}/#")
        cleaner.publish(f"ew/v1/{FLEET}/end/status", b"end")
        cleaner.until_heard(f"ew/v1/{FLEET}/end/status", b"end")
        for topic in {entry.topic for entry in cleaner.heard if entry.retain}:
            cleaner.publish(topic, b"", retain=True)
        cleaner.close()
        self._things.clear()

    def close(self) -> None:
        self.own.stop()


def skip_unless_installed(kind: Kind) -> None:
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    if kind == "amqtt":
        pytest.importorskip("amqtt", reason="amqtt is not installed: pip install 'edgewright[controller]'")


@contextmanager
def running_broker(kind: Kind, folder: Path) -> Iterator[RunningBroker]:
    skip_unless_installed(kind)
    broker = RunningBroker(kind, folder)
    try:
        yield broker
    finally:
        broker.close()
