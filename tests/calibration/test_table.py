from __future__ import annotations

import json

import pytest
from edgewright.calibration.table import Range, RangeTable, drift, load_table, merge_tables
from edgewright.core.errors import Rejected


def table(model="m", **ranges):
    return RangeTable(model=model, ranges={name: Range(low, high, "minmax", 8) for name, (low, high) in ranges.items()})


def test_a_saved_table_is_read_back(tmp_path):
    saved = table(a=(-1.5, 2), b=(0, 0))
    saved.save(tmp_path / "ranges.json")

    assert load_table(tmp_path / "ranges.json") == saved


def test_equal_tables_have_equal_digests_whatever_their_order():
    assert table(a=(0, 1), b=(0, 2)).digest == table(b=(0, 2), a=(0, 1)).digest
    assert table(a=(0, 1)).digest != table(a=(0, 1.5)).digest


@pytest.mark.parametrize("content", ["", "{}", '{"v": 1, "model": "m", "ranges": {"a": {"low": 1, "high": 0, "method": "x", "samples": 1}}}'])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "ranges.json"
    path.write_text(content)

    with pytest.raises(Rejected) as caught:
        load_table(path)

    assert caught.value.code == "table-unreadable"


def test_a_table_of_another_version_is_refused(tmp_path):
    path = tmp_path / "ranges.json"
    table(a=(0, 1)).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "v": 2}))

    with pytest.raises(Rejected):
        load_table(path)


def test_merging_takes_the_union_of_ranges_and_adds_samples():
    merged = merge_tables([table(a=(-1, 1), b=(0, 1)), table(a=(-0.5, 3), c=(0, 9))])

    assert (merged.ranges["a"].low, merged.ranges["a"].high, merged.ranges["a"].samples) == (-1, 3, 16)
    assert (merged.ranges["b"].low, merged.ranges["b"].high, merged.ranges["b"].samples) == (0, 1, 8)
    assert (merged.ranges["c"].low, merged.ranges["c"].high, merged.ranges["c"].samples) == (0, 9, 8)


def test_merging_does_not_depend_on_order():
    tables = [table(a=(-1, 1)), table(a=(-2, 0.5)), table(a=(0, 4))]

    assert merge_tables(tables).ranges == merge_tables(tables[::-1]).ranges


def test_tables_of_different_models_are_not_merged():
    with pytest.raises(Rejected) as caught:
        merge_tables([table("m", a=(0, 1)), table("n", a=(0, 1))])

    assert caught.value.code == "table-mismatch"


def test_drift_is_one_minus_overlap_over_union():
    moved = drift(table(same=(-1, 1), half=(0, 2), apart=(0, 1), gone=(0, 1)), table(same=(-1, 1), half=(1, 2), apart=(2, 3), new=(0, 1)))

    assert moved == {"same": 0.0, "half": 0.5, "apart": 1.0}
