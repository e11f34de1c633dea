"""The controller's side of a profile: ordered, collected from its parts in any order, read whole or not at all."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.controller import recorder as module
from edgewright.core.errors import Rejected
from edgewright.core.measurement import Conditions
from edgewright.core.profile import Profile, ProfileOrder, ProfileReport
from edgewright.core.wire.messages import Command, Envelope, ProfilePart, decode

NOW_S = 1_800_000_000.0
ORDER = ProfileOrder(model="surface", seconds=3.0, scenario="open-loop", rate_per_s=50.0)


def report(command):
    profile = Profile(order=ORDER, latency_ms=None, histogram=None, energy_mj=None, energy_reason="none", conditions=Conditions())
    return ProfileReport(command=command, profile=profile)


def parts(command, data, count=3, device="board-1"):
    size = -(-len(data) // count)
    return [
        ProfilePart(fleet="fleet", device=device, command=command, part=index, parts=count, data=data[index * size : (index + 1) * size])
        for index in range(count)
    ]


@pytest.fixture
def asked(orders):
    return orders.ask_profile("board-1", ORDER, NOW_S)


def test_the_order_travels_in_the_signed_command(orders, asked):
    ((device, payload),) = orders.sign_commands(lambda _data: ("0" * 64, "0" * 128), NOW_S)

    command = msgspec.json.decode(decode(payload, Envelope).signed, type=Command)
    assert (device, command.verb, command.id, command.profile) == ("board-1", "profile", asked, ORDER)


def test_a_device_that_nobody_enrolled_cannot_be_asked(orders):
    with pytest.raises(Rejected) as caught:
        orders.ask_profile("board-9", ORDER, NOW_S)

    assert caught.value.code == "device-unknown"


@pytest.mark.parametrize("sequence", [[0, 1, 2], [2, 0, 1], [1, 1, 2, 0, 0, 2]])
def test_parts_in_any_order_and_twice_are_one_answer(recorder, reports, asked, sequence):
    expected = report(asked)
    pieces = parts(asked, msgspec.json.encode(expected))
    assert reports.profile(asked) is None
    for index in sequence[:2]:
        recorder.record(pieces[index], NOW_S)
        assert reports.profile(asked) is None
    for index in sequence[2:]:
        recorder.record(pieces[index], NOW_S)

    assert reports.profile(asked) == expected


def test_once_whole_an_answer_does_not_change(recorder, reports, asked):
    expected = report(asked)
    for piece in parts(asked, msgspec.json.encode(expected)):
        assert recorder.record(piece, NOW_S)

    assert not recorder.record(parts(asked, b"other", 1)[0], NOW_S)
    assert reports.profile(asked) == expected


def test_pieces_of_two_attempts_are_not_mixed(recorder, reports, asked):
    recorder.record(parts(asked, b"x" * 90, 5)[4], NOW_S)
    expected = report(asked)
    for piece in parts(asked, msgspec.json.encode(expected)):
        recorder.record(piece, NOW_S)

    assert reports.profile(asked) == expected


def test_what_nobody_asked_for_is_not_kept(recorder, orders, asked):
    other = orders.command("board-1", "report", deployment=None, model=None, now_s=NOW_S)

    assert not recorder.record(parts("unknown", b"x", 1)[0], NOW_S)
    assert not recorder.record(parts(asked, b"x", 1, device="board-2")[0], NOW_S)
    assert not recorder.record(parts(other, b"x", 1)[0], NOW_S)
    beyond = msgspec.structs.replace(parts(asked, b"x", 1)[0], part=7)
    assert not recorder.record(beyond, NOW_S)


def test_an_answer_that_is_no_profile_is_refused_when_it_is_read(recorder, reports, asked):
    recorder.record(parts(asked, b"junk", 1)[0], NOW_S)

    with pytest.raises(Rejected) as caught:
        reports.profile(asked)

    assert caught.value.code == "profile-malformed"


def test_of_each_device_the_oldest_answers_go(recorder, reports, orders, monkeypatch):
    monkeypatch.setattr(module, "PROFILES_KEPT", 3)
    commands = []
    for index in range(5):
        commands.append(orders.ask_profile("board-1", ORDER, NOW_S + index))
        recorder.record(parts(commands[-1], msgspec.json.encode(report(commands[-1])), 1)[0], NOW_S + index)

    assert [reports.profile(command) is not None for command in commands] == [False, False, True, True, True]
