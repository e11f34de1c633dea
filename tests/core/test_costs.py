"""Sheets of costs are values with a digest, and nothing that no measurement gives is read."""

from __future__ import annotations

import json

import pytest
from edgewright.core import costs as costs_module
from edgewright.core.costs import Cost, CostSheet, sheet_from_bytes
from edgewright.core.errors import Rejected

ONE, TWO = Cost(ms=1.0, spread_ms=0.01), Cost(ms=2.0, spread_ms=0.02, energy_mj=3.0)


def written(**changes):
    fields = {"version": 1, "device": "board", "costs": {"a": {"ms": 1.0, "spread_ms": 0.1}}}
    return json.dumps(fields | changes).encode()


def test_equal_sheets_are_equal_bytes_and_come_back():
    sheet = CostSheet("board", {"a": ONE, "b": TWO})

    assert sheet.encode() == CostSheet("board", {"b": TWO, "a": ONE}).encode()
    assert sheet.digest == CostSheet("board", {"b": TWO, "a": ONE}).digest
    assert sheet_from_bytes(sheet.encode(), "sheet") == sheet


def test_what_is_known_here_stays_when_sheets_are_joined():
    assert CostSheet("board", {"a": ONE}).joined(CostSheet("board", {"a": TWO, "b": TWO})) == CostSheet("board", {"a": ONE, "b": TWO})


def test_sheets_of_two_devices_are_not_joined():
    with pytest.raises(Rejected) as caught:
        CostSheet("board", {}).joined(CostSheet("other", {}))

    assert caught.value.code == "costs-of-another-device"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        written(version=2),
        written(more=1),
        written(costs={"a": {"ms": 0.0, "spread_ms": 0.0}}),
        written(costs={"a": {"ms": 1.0, "spread_ms": -1.0}}),
        written(costs={"a": {"ms": 1.0, "spread_ms": 0.0, "energy_mj": -1.0}}),
        written().replace(b"1.0", b"1e999"),
    ],
)
def test_what_no_measurement_gives_is_not_read(data):
    with pytest.raises(Rejected) as caught:
        sheet_from_bytes(data, "theirs")

    assert caught.value.code == "costs-unreadable"
    assert "theirs" in caught.value.message


def test_a_sheet_that_is_too_large_is_not_parsed(monkeypatch):
    monkeypatch.setattr(costs_module, "MAX_SHEET_BYTES", 10)

    with pytest.raises(Rejected, match="larger than 10 bytes"):
        sheet_from_bytes(written(), "theirs")
