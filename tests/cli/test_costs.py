"""``edgewright costs``: what one device measured, for identical ones."""

from __future__ import annotations

import pytest
from edgewright.compression.network import Geometry
from edgewright.compression.search.plan import Variant
from edgewright.core.costs import Cost, CostSheet
from edgewright.pipeline.pricing import table_here

ONE = Variant((Geometry(8, 8, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),), (8, 8), "codes")


@pytest.fixture
def measured(tmp_path):
    """A cache in which one way to write a layer was timed."""
    table_here(tmp_path / "cache", "onnxruntime", 1).add({ONE: Cost(ms=1.0, spread_ms=0.01)})
    return tmp_path / "cache"


def test_what_is_exported_can_be_imported_by_an_identical_device(edgewright, measured, tmp_path):
    sheet, other = tmp_path / "board.costs.json", tmp_path / "other"

    written = edgewright("costs", "export", "--out", str(sheet), "--cache", str(measured), "--backend", "onnxruntime", "--json").json
    taken = edgewright("costs", "import", str(sheet), "--cache", str(other), "--json").json

    assert (written["costs"], taken["new"]) == (1, 1)
    assert taken["digest"] == written["digest"]
    assert table_here(other, "onnxruntime", 1).get(ONE).ms == 1.0
    assert edgewright("costs", "list", "--cache", str(other), "--json").json["tables"] == [
        {"device": written["device"], "costs": 1, "digest": written["digest"]}
    ]


def test_what_another_device_measured_is_refused(edgewright, measured, tmp_path):
    sheet = tmp_path / "theirs.costs.json"
    sheet.write_bytes(CostSheet("another", {}).encode())

    ran = edgewright("costs", "import", str(sheet), "--cache", str(measured), "--json")

    assert (ran.status, ran.code) == (1, "costs-of-another-device")


def test_nothing_measured_is_nothing_to_export(edgewright, tmp_path):
    ran = edgewright("costs", "export", "--out", str(tmp_path / "none.json"), "--cache", str(tmp_path / "cache"), "--json")

    assert (ran.status, ran.code) == (1, "costs-missing")
    assert not (tmp_path / "none.json").exists()


def test_a_table_of_each_kind_is_listed_for_a_person(edgewright, measured):
    assert "costs" in edgewright("costs", "list", "--cache", str(measured)).out
