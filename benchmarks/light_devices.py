"""Ten thousand devices in one process: each a real MQTT 3.1.1 connection that speaks the product's protocol, and builds nothing.

A light device verifies nothing, fetches nothing and takes no time; what it says has the product's types, in the product's order. It is told by its
name how it behaves: one in a hundred fails, one in a hundred never answers a goal. Each keeps what it was told to run, as a real one's journal does,
and announces everything again when it connects.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections import Counter
from dataclasses import dataclass, field

from edgewright.core.errors import Reason
from edgewright.core.measurement import Candidate, Latency
from edgewright.core.wire.messages import (
    Capabilities,
    Desired,
    Envelope,
    Event,
    Measurement,
    Message,
    ModelReport,
    Order,
    Reported,
    SlotReport,
    State,
    Status,
    Telemetry,
    decode,
    encode,
)
from edgewright.core.wire.topics import RETAINED, Channel, client_id, qos_of, topic

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 14
KEEPALIVE_S = 300
CONNECTING = 100
STATES: tuple[State, ...] = ("OFFERED", "ACCEPTED", "VERIFIED", "MEASURED", "PROBATION")
FAILURE = Reason("build-failed", "this board is one of those that fail", "It is told to", "unfit")


def behaviour(name: str) -> str:
    """``fails``, ``silent`` or ``well``; one in a hundred of the first two each."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100
    return {0: "fails", 1: "silent"}.get(number, "well")


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    length, head = len(body), bytearray([kind << 4 | flags])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


@dataclass(slots=True)
class Counts:
    """What all devices together have said and heard; `effects` counts activations by (device, deployment): never more than one each."""

    said: Counter[str] = field(default_factory=Counter)
    goals: int = 0
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted_s: dict[str, float] = field(default_factory=dict)
    connected: int = 0


class LightDevice(asyncio.Protocol):
    """One device and its connection; it outlives connections, as a board does."""

    def __init__(self, fleet: str, name: str, password: str, counts: Counts) -> None:
        self.fleet, self.name, self.password, self.counts = fleet, name, password, counts
        self.behaviour = behaviour(name)
        self.session = self.sequence = self.event_number = self.packet_id = 0
        self.running: Order | None = None
        self.state: State | None = None
        self.of: Order | None = None
        self.transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] | None = None
        self.buffer = bytearray()

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer.clear()
        self.session += 1
        will = encode(self._status(online=False))
        body = text("MQTT") + bytes([4, 0b11100110 | 1 << 3]) + struct.pack(">H", KEEPALIVE_S) + text(client_id(self.fleet, self.name))
        body += text(topic(self.fleet, self.name, "status")) + struct.pack(">H", len(will)) + will + text(self.name) + text(self.password)
        transport.write(packet(CONNECT, body))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (taken := self._next()) is not None:
            kind, flags, body = taken
            self._packet(kind, flags, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.counts.connected -= 1
        if self.ready is not None and not self.ready.done():
            self.ready.set_exception(error or ConnectionResetError("the broker ended the connection"))

    def _next(self) -> tuple[int, int, bytes] | None:
        length = shift = 0
        for position in range(1, min(5, len(self.buffer))):
            byte = self.buffer[position]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                end = position + 1 + length
                if len(self.buffer) < end:
                    return None
                kind, flags, body = self.buffer[0] >> 4, self.buffer[0] & 15, bytes(self.buffer[position + 1 : end])
                del self.buffer[:end]
                return kind, flags, body
        return None

    def _packet(self, kind: int, flags: int, body: bytes) -> None:
        if kind == CONNACK:
            if body[1] != 0:
                raise ConnectionRefusedError(f"{self.name}: the broker says {body[1]}")
            topics = [topic(self.fleet, self.name, channel) for channel in ("desired", "command")]
            self._write(packet(SUBSCRIBE, struct.pack(">H", 1) + b"".join(text(name) + b"\x01" for name in topics), 2))
        elif kind == SUBACK:
            self.counts.connected += 1
            self._announce()
            if self.ready is not None and not self.ready.done():
                self.ready.set_result(None)
        elif kind == PUBLISH:
            length = struct.unpack_from(">H", body)[0]
            start = 2 + length
            if flags >> 1 & 3:
                self._write(packet(PUBACK, body[start : start + 2]))
                start += 2
            if body[2 : 2 + length].endswith(b"/desired"):
                self._wanted(body[start:])

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def ping(self) -> None:
        self._write(packet(PINGREQ, b""))

    # --- what a device says ---

    def say(self, channel: Channel, message: Message) -> None:
        self.counts.said[channel] += 1
        qos = qos_of(channel)
        body = text(topic(self.fleet, self.name, channel))
        if qos:
            self.packet_id = self.packet_id % 65535 + 1
            body += struct.pack(">H", self.packet_id)
        self._write(packet(PUBLISH, body + encode(message), qos << 1 | (channel in RETAINED)))

    def _status(self, *, online: bool) -> Status:
        return Status(fleet=self.fleet, device=self.name, online=online, boot_id="light", session=self.session, agent_version="light")

    def _announce(self) -> None:
        self.say("status", self._status(online=True))
        who = {"fleet": self.fleet, "device": self.name}
        self.say("capabilities", Capabilities(**who, board="light", machine="none", agent_version="1", memory_mb=1, cores=1, hardware_class="light"))
        self._report()

    def _report(self) -> None:
        active = None
        if self.running is not None:
            active = SlotReport(deployment=self.running.deployment, version=self.running.version, backend="light", engine_digest="", since_s=1.0)
        deployment = self.of.deployment if self.of is not None else None
        report = ModelReport(active=active, previous=None, trial=None, deployment=deployment, state=self.state, attempt=1)
        models = {"model": report} if self.of is not None else {}
        message = Reported(
            fleet=self.fleet, device=self.name, session=self.session, desired_sequence=self.sequence, time_s=time.time(), models=models
        )
        self.say("reported", message)

    def telemetry(self) -> None:
        self.say("telemetry", Telemetry(fleet=self.fleet, device=self.name, time_s=time.time(), uptime_s=1.0, cpu_percent=3.0, memory_used_mb=900.0))

    # --- what a device does ---

    def _wanted(self, payload: bytes) -> None:
        self.counts.goals += 1
        desired = decode(decode(payload, Envelope).signed, Desired)
        if desired.sequence <= self.sequence:
            return
        self.sequence = desired.sequence
        order = desired.models.get("model")
        if order is None or (self.of is not None and order.key == self.of.key) or self.behaviour == "silent":
            return
        self.of = order
        for state in STATES:
            self._happen(state)
        if self.behaviour == "fails":
            self._happen("FAILED", FAILURE)
        else:
            self.running = order
            self.counts.effects[self.name, order.deployment] += 1
            self._happen("SUCCEEDED")
        self._report()

    def _happen(self, state: State, reason: Reason | None = None) -> None:
        assert self.of is not None
        self.state = state
        self.event_number += 1
        measurement = None
        if state == "ACCEPTED":
            self.counts.accepted_s.setdefault(self.name, time.time())
        if state == "MEASURED":
            jitter = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[4:6], "big") / 65536
            latency = Latency(mean=8.0, p50=8.0, p90=8.5, p99=9.0 + jitter, samples=1000)
            chosen = Candidate(name="int8", backend="light", path="", size_bytes=1, latency_ms=latency, energy_mj=None, fidelity=None)
            measurement = Measurement(chosen=chosen, baseline=None, verdict=None)
        event = Event(
            fleet=self.fleet,
            device=self.name,
            id=f"{self.name}-{self.event_number}",
            sequence=self.event_number,
            deployment=self.of.deployment,
            model="model",
            attempt=1,
            state=state,
            time_s=time.time(),
            reason=reason,
            measurement=measurement,
        )
        self.say("event", event)


class LightFleet:
    """All devices, in one event loop."""

    def __init__(self, fleet: str, passwords: dict[str, str], port: int) -> None:
        self.counts = Counts()
        self.port = port
        self.devices = [LightDevice(fleet, name, password, self.counts) for name, password in passwords.items()]

    async def connect(self) -> None:
        """Every device, `CONNECTING` at a time."""
        room = asyncio.Semaphore(CONNECTING)
        loop = asyncio.get_running_loop()

        async def one(device: LightDevice) -> None:
            async with room:
                device.ready = loop.create_future()
                await loop.create_connection(lambda: device, "127.0.0.1", self.port)
                await asyncio.wait_for(device.ready, 120)

        await asyncio.gather(*(one(device) for device in self.devices))

    async def telemetry(self, per_s: float, seconds: float) -> int:
        """Send telemetry at a rate, from one device after another; returns how many were sent."""
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            while sent < per_s * passed:
                self.devices[sent % len(self.devices)].telemetry()
                sent += 1
            await asyncio.sleep(0.01)
        return sent

    def close(self) -> None:
        for device in self.devices:
            if device.transport is not None:
                device.transport.close()
