from __future__ import annotations

from typing import Any

import pytest
from edgewright.controller.access import CONTROLLER_USER, may_hear, may_publish, mosquitto_acl
from edgewright.core.wire.link import Will
from edgewright.core.wire.topics import CHANNELS, FROM_DEVICE, TO_DEVICE, broadcast_topic, topic
from hypothesis import given
from hypothesis import strategies as st

MINE, OTHERS = "board-1", "board-2"
ALL = "ew/v1/fleet/#"


def channel_of(device: str, channel: Any) -> str:
    return topic("fleet", device, channel)


def test_a_device_says_what_devices_say_and_hears_what_is_said_to_it() -> None:
    assert [channel for channel in CHANNELS if may_publish("fleet", MINE, channel_of(MINE, channel))] == list(FROM_DEVICE_IN_ORDER)
    assert [channel for channel in CHANNELS if may_hear("fleet", MINE, channel_of(MINE, channel))] == list(TO_DEVICE)


FROM_DEVICE_IN_ORDER = tuple(channel for channel in CHANNELS if channel in FROM_DEVICE)


@given(st.sampled_from(CHANNELS), st.sampled_from(["board-2", "+", "#", "", "board-1/x", "controller"]))
def test_a_device_has_no_part_in_other_names(channel: str, name: str) -> None:
    assert not may_publish("fleet", MINE, channel_of(name, channel))
    assert not may_hear("fleet", MINE, channel_of(name, channel))


@pytest.mark.parametrize("topic_filter", ["#", "ew/#", ALL, "ew/v1/+/board-1/desired", "ew/v1/fleet/board-1/#", "ew/v1/fleet/board-1/+", "$SYS/#"])
def test_a_device_may_use_no_wildcard(topic_filter: str) -> None:
    assert not may_hear("fleet", MINE, topic_filter)


def test_the_controller_stays_in_its_fleet() -> None:
    assert may_publish("fleet", CONTROLLER_USER, channel_of(MINE, "desired"))
    assert may_hear("fleet", CONTROLLER_USER, ALL)
    assert not may_publish("fleet", CONTROLLER_USER, topic("fleet-2", MINE, "desired"))
    assert not may_hear("fleet", CONTROLLER_USER, "ew/v1/fleet-2/#")
    assert not may_hear("fleet", CONTROLLER_USER, "#")


def test_mosquittos_file_has_a_line_for_every_channel() -> None:
    lines = mosquitto_acl("plant").splitlines()

    assert lines[:2] == ["user controller", "topic readwrite ew/v1/plant/#"]
    assert sorted(lines[3:]) == sorted(
        ["pattern read ew/v1/plant/_all/blob/+"]
        + [f"pattern read ew/v1/plant/%u/{channel}" for channel in ("desired", "blob", "command")]
        + [
            f"pattern write ew/v1/plant/%u/{channel}"
            for channel in ("status", "capabilities", "reported", "event", "telemetry", "get", "reply", "profile")
        ]
    )


# --- held against the brokers ---


def test_every_device_hears_what_is_broadcast_and_none_can_say_it(broker: Any) -> None:
    name = broadcast_topic("fleet", "a" * 64)
    controller, device, other = broker.client(), broker.client(MINE), broker.client(OTHERS)
    for client in (device, other):
        client.subscribe(name, qos=0)
    device.publish(name, b"forged", qos=0)
    controller.publish(name, b"chunk", qos=0)
    for client in (device, other):
        client.until_heard(name, b"chunk")

    assert [entry.payload for client in (device, other) for entry in client.heard] == [b"chunk", b"chunk"]


def test_what_devices_say_reaches_the_controller_and_nothing_else_does(broker: Any) -> None:
    controller, device = broker.client(), broker.client(MINE)
    controller.subscribe(ALL)
    forbidden = [channel_of(MINE, channel) for channel in TO_DEVICE] + [channel_of(OTHERS, channel) for channel in CHANNELS]
    for name in forbidden:
        for retain in (False, True):
            device.publish(name, b"forged", qos=0 if name.endswith("blob") else 1, retain=retain)
    for channel in FROM_DEVICE:
        device.publish(channel_of(MINE, channel), b"mine")
    controller.until(lambda: len(controller.heard) >= len(FROM_DEVICE))

    assert sorted(entry.topic for entry in controller.heard) == sorted(channel_of(MINE, channel) for channel in FROM_DEVICE)
    assert {entry.payload for entry in controller.heard} == {b"mine"}


def test_a_device_hears_only_what_is_said_to_it_whatever_it_subscribes_to(broker: Any) -> None:
    controller, device = broker.client(), broker.client(MINE)
    filters = ["#", ALL, "ew/v1/fleet/+/desired", *(channel_of(OTHERS, channel) for channel in TO_DEVICE), *(channel_of(MINE, c) for c in TO_DEVICE)]
    for one in filters:
        device.subscribe(one)
    for channel in CHANNELS:
        for retain in (False, True):
            controller.publish(channel_of(OTHERS, channel), b"not for you", retain=retain)
    for channel in TO_DEVICE:
        controller.publish(channel_of(MINE, channel), b"for you")
    device.until(lambda: len({entry.topic for entry in device.heard}) >= len(TO_DEVICE))

    assert {(entry.topic, entry.payload) for entry in device.heard} == {(channel_of(MINE, channel), b"for you") for channel in TO_DEVICE}


def test_what_is_retained_for_others_is_not_given_to_a_newcomer(broker: Any) -> None:
    controller, owner = broker.client(), broker.client(OTHERS)
    owner.subscribe(channel_of(OTHERS, "desired"))
    controller.subscribe(ALL)
    controller.publish(channel_of(OTHERS, "desired"), b"a secret goal", retain=True)
    owner.publish(channel_of(OTHERS, "reported"), b"a secret state", retain=True)
    owner.until_heard(channel_of(OTHERS, "desired"), b"a secret goal")
    device = broker.client(MINE)
    device.subscribe("#")
    device.subscribe(channel_of(MINE, "desired"))
    controller.publish(channel_of(MINE, "desired"), b"mine")
    device.until_heard(channel_of(MINE, "desired"), b"mine")

    assert {entry.payload for entry in device.heard} == {b"mine"}


def test_a_last_will_says_no_more_than_its_device_may(broker: Any) -> None:
    controller, victim = broker.client(), broker.client(OTHERS)
    controller.subscribe(ALL)
    victim.subscribe(channel_of(OTHERS, "desired"))
    for name in (channel_of(OTHERS, "desired"), channel_of(MINE, "command"), channel_of(OTHERS, "status")):
        attacker = broker.client(MINE, will=Will(name, b"forged"))
        if not attacker.code.is_failure:
            attacker.vanish()
    honest = broker.client(MINE, will=Will(channel_of(MINE, "status"), b"gone"))
    honest.vanish()
    controller.until_heard(channel_of(MINE, "status"), b"gone")
    controller.publish(channel_of(OTHERS, "desired"), b"goal")
    victim.until_heard(channel_of(OTHERS, "desired"), b"goal")

    assert b"forged" not in {entry.payload for entry in controller.heard + victim.heard}


def test_taking_over_the_controllers_session_gives_a_device_nothing_to_hear(broker: Any) -> None:
    controller, other = broker.client(client_id="the-controller", clean=False), broker.client(OTHERS)
    controller.subscribe(ALL)
    controller.close()
    thief = broker.client(MINE, client_id="the-controller", clean=False)
    watcher = broker.client()
    watcher.subscribe(ALL)
    other.publish(channel_of(OTHERS, "reported"), b"a secret state", retain=True)
    watcher.until_heard(channel_of(OTHERS, "reported"), b"a secret state")
    watcher.publish(channel_of(MINE, "desired"), b"mine")
    watcher.until_heard(channel_of(MINE, "desired"), b"mine")
    thief.publish(channel_of(MINE, "status"), b"what was meant for me is here by now")

    assert {entry.payload for entry in thief.heard} <= {b"mine"}


def test_a_session_that_was_taken_over_does_not_speak_with_the_voice_of_its_former_owner(broker: Any) -> None:
    watcher = broker.client()
    watcher.subscribe(ALL)
    broker.client(client_id="the-controller", clean=False)
    thief = broker.client(MINE, client_id="the-controller", clean=False)
    thief.publish(channel_of(OTHERS, "desired"), b"forged")
    thief.publish(channel_of(MINE, "status"), b"mine")
    watcher.until_heard(channel_of(MINE, "status"), b"mine")

    assert [entry.payload for entry in watcher.heard] == [b"mine"]


@pytest.mark.parametrize(("user", "password"), [(MINE, "wrong"), (MINE, ""), ("nobody", "x"), ("", ""), (CONTROLLER_USER, "password of board-1")])
def test_nobody_logs_in_without_the_password(broker: Any, user: str, password: str) -> None:
    assert broker.client(user, password=password).code.is_failure
