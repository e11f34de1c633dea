"""Costs are measured once and survive."""

from __future__ import annotations

import msgspec
import pytest
from edgewright.compression.network import Geometry
from edgewright.compression.search.costs import CostTable
from edgewright.compression.search.plan import Variant
from edgewright.core.costs import Cost
from edgewright.core.errors import Rejected

ONE = Variant((Geometry(8, 8, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),), (8, 8), "codes")
TWO = Variant(ONE.chain, (8, 8), "float")
SURE, UNSURE = Cost(ms=1.0, spread_ms=0.01), Cost(ms=1.0, spread_ms=0.5)


def test_what_was_measured_is_there_in_the_next_run(tmp_path):
    CostTable("device", tmp_path / "costs.json").add({ONE: SURE})

    again = CostTable.load("device", tmp_path / "costs.json")

    assert again.get(ONE) == SURE
    assert again.missing(iter([ONE, TWO, TWO])) == (TWO,)


def test_what_was_measured_at_an_uneasy_time_is_measured_again_in_the_next_run(tmp_path):
    table = CostTable("device", tmp_path / "costs.json")
    table.add({ONE: UNSURE})

    assert table.missing(iter([ONE])) == ()
    assert CostTable.load("device", tmp_path / "costs.json").missing(iter([ONE])) == (ONE,)


def test_another_device_begins_with_nothing(tmp_path):
    CostTable("device", tmp_path / "costs.json").add({ONE: SURE})

    assert len(CostTable.load("another", tmp_path / "costs.json")) == 0


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 1}', b'{"version": 99, "device": "device", "costs": {}}'])
def test_a_broken_table_is_measured_again(tmp_path, data):
    (tmp_path / "costs.json").write_bytes(data)

    assert len(CostTable.load("device", tmp_path / "costs.json")) == 0


def test_an_identical_device_gives_what_it_measured(tmp_path):
    theirs = CostTable("device")
    theirs.add({ONE: SURE, TWO: SURE})
    mine = CostTable("device", tmp_path / "mine.json")
    mine.add({ONE: Cost(ms=2.0, spread_ms=0.0)})

    assert mine.merge(theirs.sheet) == 1
    assert mine.get(ONE).ms == 2.0
    assert CostTable.load("device", tmp_path / "mine.json").get(TWO) == SURE


def test_a_table_of_another_device_is_refused():
    with pytest.raises(Rejected) as caught:
        CostTable("device").merge(CostTable("another").sheet)
    assert caught.value.code == "costs-of-another-device"


def test_the_setting_and_the_size_are_part_of_what_is_timed():
    keys = {ONE.key, TWO.key, msgspec.structs.replace(SURE, ms=2.0).ms, Variant(ONE.chain, (9, 9), "codes").key}

    assert len(keys) == 4
