"""Ends the connections of devices whose access was taken: the broker asks for a password or a certificate only when a connection begins.

MQTT ends the older of two connections with one client id: the controller, which may use every id, connects with the device's and leaves again. On
the way it takes back what the broker retains of the device: whoever has its name next must not be taken for it.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ..core.wire.link import LinkOptions
from ..core.wire.topics import Channel, client_id, topic
from .enrollment import BANISHED_NAME
from .paths import FleetPaths

log = logging.getLogger(__name__)

CONNECT_S = 5.0
FORGOTTEN: tuple[Channel, ...] = ("reported", "capabilities")


class Banishment:
    """For one thread. Names that were written down before the start are of the past: the broker has started since."""

    def __init__(self, paths: FleetPaths, fleet: str, options: LinkOptions) -> None:
        self._path = paths.broker / BANISHED_NAME
        self._fleet = fleet
        self._options = options
        self._done = len(self._names())
        self._due: list[str] = []

    def look(self) -> list[str]:
        """End the connections of those that were banished before the last look, by which time the broker knows; returns their names."""
        ended, self._due = self._due, []
        names = self._names()
        self._due, self._done = names[self._done :], len(names)
        for name in ended:
            log.info("Ending the connection of %s, whose access was taken%s", name, "" if self._take_over(name) else ": the broker does not answer")
        return ended

    def _names(self) -> list[str]:
        try:
            return self._path.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def _take_over(self, name: str) -> bool:
        connected = threading.Event()

        def on_connect(client: mqtt.Client, _userdata: Any, _flags: Any, _code: Any, _properties: Any) -> None:
            connected.set()
            for channel in FORGOTTEN:
                client.publish(topic(self._fleet, name, channel), b"", qos=0, retain=True)
            client.disconnect()

        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id(self._fleet, name), protocol=mqtt.MQTTv311)
        client.username_pw_set(self._options.username, self._options.password)
        client.on_connect = on_connect
        try:
            client.connect(self._options.host, self._options.port)
        except OSError:
            return False
        client.loop_start()
        answered = connected.wait(CONNECT_S)
        client.loop_stop()
        return answered
