"""What amqtt is changed in; what both brokers must do is in test_access."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amqtt", reason="the embedded broker is amqtt: pip install 'edgewright[controller]'")

from edgewright.controller import embedded_broker
from edgewright.controller.embedded_broker import FleetBroker, configuration
from edgewright.core.errors import Unfit

only_embedded = pytest.mark.parametrize("running_broker", ["amqtt"], indirect=True)


@pytest.mark.parametrize("name", embedded_broker._OVERRIDDEN)
def test_an_amqtt_that_would_not_ask_for_the_rules_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(embedded_broker.Broker, name)
    with pytest.raises(Unfit) as unfit:
        FleetBroker(configuration(0), "fleet", tmp_path / "passwords")

    assert unfit.value.code == "broker-unsupported"
    assert name in unfit.value.message


@only_embedded
def test_no_message_is_lost_while_others_come_and_subscribe(broker: Any, mqtt: Any) -> None:
    """amqtt asks for the rules while it walks through its subscriptions: were it to pause there, a newcomer would break the walk."""
    topic, count = "ew/v1/fleet/board-1/event", 60
    controller, device = broker.client(), broker.client("board-1")
    controller.subscribe("ew/v1/fleet/+/event")
    for number in range(count):
        device.publish(topic, b"%d" % number)
        if number % 10 == 0:
            broker.client("board-2").subscribe(f"ew/v1/fleet/board-2/{('desired', 'command', 'blob')[number % 3]}")
            broker.client().subscribe(f"ew/v1/fleet/board-{number}/reply")
    controller.until(lambda: len(controller.heard) >= count)

    assert sorted(int(entry.payload) for entry in controller.heard) == list(range(count))


@only_embedded
def test_whoever_subscribes_gets_what_is_retained_at_once_and_again(broker: Any) -> None:
    controller = broker.client()
    controller.publish("ew/v1/fleet/board-1/desired", b"kept", retain=True)
    for _ in range(3):
        device = broker.client("board-1")
        device.subscribe("ew/v1/fleet/board-1/desired")

        assert device.until_heard("ew/v1/fleet/board-1/desired", b"kept").retain


@only_embedded
def test_whoever_has_not_subscribed_gets_nothing(broker: Any) -> None:
    controller = broker.client()
    controller.subscribe("ew/v1/fleet/#")
    broker.client("board-1").subscribe("ew/v1/fleet/board-1/desired")
    controller.publish("ew/v1/fleet/board-1/desired", b"kept", retain=True)
    newcomer = broker.client("board-1")
    newcomer.publish("ew/v1/fleet/board-1/status", b"what was meant for me is here by now")

    assert newcomer.heard == []


@only_embedded
def test_an_empty_retained_message_clears_the_topic(broker: Any) -> None:
    controller = broker.client()
    controller.publish("ew/v1/fleet/board-1/desired", b"kept", retain=True)
    controller.publish("ew/v1/fleet/board-1/desired", b"", retain=True)
    device = broker.client("board-1")
    device.subscribe("ew/v1/fleet/board-1/desired")
    controller.publish("ew/v1/fleet/board-1/desired", b"live")
    device.until_heard("ew/v1/fleet/board-1/desired", b"live")

    assert [entry.payload for entry in device.heard] == [b"live"]


def test_it_listens_on_loopback_alone_and_loads_no_plugin() -> None:
    settings: Any = configuration(1883)
    made: Callable[..., Any] = settings["listeners"]["default"].get

    assert (made("bind"), made("type"), settings["plugins"]) == ("127.0.0.1:1883", "tcp", {})
