"""A smart plug on MQTT: Shelly (second generation) and Tasmota. It covers what the wall socket delivers, supply's loss included.

Configured in ``[meter]`` of ``/etc/edgewright/power.toml``. Both report every few seconds, in steps of about 1 W: good for windows of minutes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..power_config import Meter, read_power_config
from ..sensor import Rail, Readings, Traits
from ..sysfs import Sysfs

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 16 * 1024
_STALE_S = 120.0
_FIRST_S = 15.0
_MAX_W = 100_000


def parse_plug(kind: str, payload: bytes) -> float | None:
    """Milliwatts of one status message, or None when it carries no power."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = message if isinstance(message, dict) else {}
    if kind == "tasmota":
        energy = found.get("ENERGY")
        value = energy.get("Power") if isinstance(energy, dict) else None
    else:
        value = found.get("apower")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_W:
        return None
    return 1000.0 * value


def plug_topic(meter: Meter) -> str:
    return f"{meter.topic}/status/switch:0" if meter.kind == "shelly" else f"tele/{meter.topic}/SENSOR"


@dataclass(slots=True)
class PlugReadings:
    """Owns the connection; the last message is the reading until it is stale."""

    rail: Rail
    meter: Meter
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    _client: Any = None
    _value: float | None = None
    _read_s: float = 0.0
    _first: threading.Event = field(default_factory=threading.Event)

    def start(self, password: str | None) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if self.meter.username is not None:
            client.username_pw_set(self.meter.username, password)
        if self.meter.tls_ca is not None:
            client.tls_set(self.meter.tls_ca)
        client.on_connect = lambda client, *_: client.subscribe(plug_topic(self.meter))
        client.on_message = lambda _client, _data, message: self.received(bytes(message.payload))
        self._client = client
        with contextlib.suppress(OSError):
            client.connect(self.meter.host, self.meter.port)
        client.loop_start()
        self._first.wait(_FIRST_S)

    def received(self, payload: bytes) -> None:
        """On paho's thread: one status message of the plug."""
        value = parse_plug(self.meter.kind, payload)
        if value is not None:
            self._value, self._read_s = value, time.monotonic()
            self._first.set()

    def read(self) -> list[float | None]:
        value = None if time.monotonic() - self._read_s > _STALE_S else self._value
        if value is None:
            self.faults[self.rail.key, "no data"] += 1
        return [value]

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()


class MeterMqtt:
    """The `Sensor` of smart plugs."""

    is_last_resort = False

    def unavailable(self, tree: Sysfs) -> str | None:
        meter = read_power_config(tree).meter
        if meter is None or meter.kind == "csv":
            return "no meter of kind shelly or tasmota in /etc/edgewright/power.toml"
        return None if tree.is_this_machine else "the plug is not asked below another root: it measures this machine"

    def rails(self, tree: Sysfs) -> tuple[Rail, ...]:
        meter = read_power_config(tree).meter
        assert meter is not None
        return (
            Rail("meter_mqtt/plug", f"{meter.kind} {meter.topic}", "meter_mqtt", Traits(filter_s=None, resolution_mw=1000.0), covers=meter.scope),
        )

    def open(self, tree: Sysfs, rails: Sequence[Rail]) -> Readings:
        meter = read_power_config(tree).meter
        assert meter is not None
        readings = PlugReadings(rails[0], meter)
        readings.start(None if meter.password_file is None else tree.text(meter.password_file))
        return readings


SENSOR = MeterMqtt()
