from __future__ import annotations

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.wire.topics import (
    CHANNELS,
    FROM_DEVICE,
    RETAINED,
    TO_DEVICE,
    Address,
    check_name,
    client_id,
    fleet_filter,
    parse_topic,
    topic,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)


@given(NAMES, NAMES, st.sampled_from(CHANNELS))
def test_a_topic_leads_back_to_its_address(fleet: str, device: str, channel: str) -> None:
    assert parse_topic(topic(fleet, device, channel)) == Address(fleet, device, channel)  # type: ignore[arg-type]


def test_topics_are_spelled_as_documented() -> None:
    assert topic("plant", "board-1", "desired") == "ew/v1/plant/board-1/desired"
    assert fleet_filter("plant", "event") == "ew/v1/plant/+/event"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ew/v1/plant/board-1",
        "ew/v1/plant/board-1/desired/more",
        "ew/v2/plant/board-1/desired",
        "xx/v1/plant/board-1/desired",
        "ew/v1/plant/board-1/unknown",
        "ew/v1/plant/_all/blob",
        "ew/v1/plant/Board/desired",
        "ew/v1/plant/../desired",
        "ew/v1//board-1/desired",
        "ew/v1/plant/board-1\n/desired",
        "ew/v1/plant/" + "a" * 65 + "/desired",
    ],
)
def test_what_is_no_device_topic_has_no_address(text: str) -> None:
    assert parse_topic(text) is None


@given(st.text(max_size=80))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    parse_topic(text)
    parse_topic(f"ew/v1/{text}/status")


@pytest.mark.parametrize("name", ["a", "0", "board-1", "-", "a" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name(name, what="device") == name


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a+", "#", "_all", "a.b", "ä", "a\n", "a" * 65])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_name(name, what="device")

    assert refused.value.code == "bad-name"
    assert "device" in refused.value.message


def test_every_channel_has_one_direction_and_devices_retain_only_their_own() -> None:
    assert sorted((*TO_DEVICE, *FROM_DEVICE)) == sorted(CHANNELS)
    assert sorted(RETAINED) == ["capabilities", "desired", "reported", "status"]


def test_brokers_with_the_narrowest_limits_carry_every_topic() -> None:
    longest = max(topic("f" * 64, "d" * 64, channel) for channel in CHANNELS)

    assert longest.count("/") <= 6
    assert len(longest) <= 256


def test_client_ids_of_different_fleets_never_meet() -> None:
    assert client_id("a", "b-c") != client_id("a-b", "c")
