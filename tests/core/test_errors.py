"""Errors: three families, one reason that crosses processes and machines."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.core.errors import EdgewrightError, Faulty, Reason, Rejected, Unfit, error_from_reason


@pytest.mark.parametrize(("kind", "family"), [(Rejected, "rejected"), (Unfit, "unfit"), (Faulty, "faulty")])
def test_an_error_gives_its_family_code_message_and_next_step(kind: type[EdgewrightError], family: str) -> None:
    error = kind("some-code", "it broke", "Mend it")

    assert Reason("some-code", "it broke", "Mend it", family) == error.reason
    assert str(error) == "it broke"
    assert isinstance(error, EdgewrightError)


@pytest.mark.parametrize("kind", [Rejected, Unfit, Faulty])
def test_an_error_survives_the_way_through_json(kind: type[EdgewrightError]) -> None:
    sent = kind("some-code", "it broke", "Mend it")

    again = error_from_reason(msgspec.json.decode(msgspec.json.encode(sent.reason), type=Reason))

    assert kind is type(again)
    assert sent.reason == again.reason


def test_a_line_for_a_terminal_holds_what_to_do() -> None:
    assert Reason("c", "the disk is full", "Free space").line() == "the disk is full. Free space"


def test_a_line_without_a_next_step_is_the_message() -> None:
    assert Reason("c", "the disk is full", "").line() == "the disk is full"


def test_a_reason_with_an_unknown_family_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="family"):
        msgspec.json.decode(b'{"code":"c","message":"m","next":"n","family":"unlucky"}', type=Reason)


def test_a_reason_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="extra"):
        msgspec.json.decode(b'{"code":"c","message":"m","next":"n","extra":1}', type=Reason)
