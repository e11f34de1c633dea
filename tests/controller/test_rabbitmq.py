"""The controller by RabbitMQ's MQTT plugin: what is retained is not sent to wildcard subscriptions there, and QoS 2 does not exist."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgewright.core.wire.link import LinkOptions, Will
from edgewright.core.wire.messages import Desired, Envelope, Event, Order, Status, decode, encode
from edgewright.core.wire.topics import topic

USERS = ("controller", "board-1")


def status(*, online: bool) -> bytes:
    return encode(Status(fleet="fleet", device="board-1", online=online, boot_id="b", session=1, agent_version="1"))


def test_a_device_is_told_succeeds_and_its_last_will_is_heard(
    load_fake: Callable[[str], ModuleType], mqtt: Any, tmp_path: Path, order: Callable[..., Order], event: Callable[..., Event]
) -> None:
    (tmp_path / "rabbit").mkdir()
    users = [(user, mqtt.password_of(user)) for user in USERS]
    with load_fake("rabbitmq").running_rabbitmq(tmp_path / "rabbit", users) as port:
        options = LinkOptions("127.0.0.1", port, "fleet_controller", "controller", mqtt.password_of("controller"), reconnect_min_s=0.1)
        controller = load_fake("controller").ServingController(tmp_path / "fleet", options)
        try:
            controller.start()
            controller.until(lambda: controller.service.is_up)
            on = {channel: topic("fleet", "board-1", channel) for channel in ("status", "desired", "event")}
            client = mqtt.Client(port, "board-1", will=Will(on["status"], status(online=False)))
            client.subscribe(on["desired"])
            client.publish(on["status"], status(online=True), retain=True)
            controller.until(lambda: any(board.name == "board-1" and board.online for board in controller.reports.devices()))
            controller.orders.deploy("m", order(), ["board-1"], time.time())
            client.until(lambda: any("m" in decode(decode(heard.payload, Envelope).signed, Desired).models for heard in client.heard))
            for state in ("ACCEPTED", "SUCCEEDED"):
                client.publish(on["event"], encode(event(state)))
            controller.until(lambda: controller.reports.deployment("d-1").devices[0].state == "SUCCEEDED")
            client.vanish()
            controller.until(lambda: not any(board.online for board in controller.reports.devices()))
            client.close()
        finally:
            controller.close()
