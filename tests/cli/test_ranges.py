"""Range tables on the command line: reused, merged, compared."""

from __future__ import annotations

import json

import pytest
from edgewright.calibration.table import Range, RangeTable, load_table


@pytest.fixture
def table(tmp_path):
    def save(name, ranges, model="a" * 64):
        path = tmp_path / name
        RangeTable(model=model, ranges={tensor: Range(*bounds, "minmax", 8) for tensor, bounds in ranges.items()}).save(path)
        return path

    return save


def test_a_merged_table_covers_what_every_device_saw(edgewright, table, tmp_path):
    one, other = table("one.json", {"x": (-1, 2), "y": (0, 1)}), table("other.json", {"x": (-3, 1)})

    ran = edgewright("ranges", "merge", one, other, "--out", tmp_path / "all.json", "--json")

    assert ran.status == 0
    assert (ran.json["tables"], ran.json["tensors"]) == (2, 2)
    merged = load_table(tmp_path / "all.json")
    assert (merged.ranges["x"].low, merged.ranges["x"].high, merged.ranges["x"].samples) == (-3, 2, 16)
    assert merged.digest == ran.json["digest"]


def test_drift_comes_largest_first(edgewright, table):
    old, new = table("old.json", {"x": (0, 4), "y": (0, 1), "z": (0, 1)}), table("new.json", {"x": (0, 1), "y": (0, 1), "w": (0, 1)})

    ran = edgewright("ranges", "compare", old, new, "--json")

    assert ran.json == {
        "largest": 0.75,
        "tensors": [{"name": "x", "drift": 0.75}, {"name": "y", "drift": 0.0}],
        "only_old": ["z"],
        "only_new": ["w"],
    }
    assert edgewright("ranges", "compare", old, new).out.splitlines()[-1] == "largest drift 0.750 of 2 tensors"


def test_too_much_drift_is_an_exit_status(edgewright, table):
    old, new = table("old.json", {"x": (0, 4)}), table("new.json", {"x": (0, 1)})

    assert edgewright("ranges", "compare", old, new, "--max-drift", "0.8").status == 0
    refused = edgewright("ranges", "compare", old, new, "--max-drift", "0.5", "--json")
    assert (refused.status, refused.code) == (1, "ranges-drifted")


@pytest.mark.parametrize("verb", [["merge", "--out", "/tmp/unused"], ["compare"]])
def test_tables_of_different_models_are_refused(edgewright, table, verb):
    one, other = table("one.json", {"x": (0, 1)}), table("other.json", {"x": (0, 1)}, model="b" * 64)

    assert edgewright("ranges", verb[0], one, other, *verb[1:], "--json").code == "table-mismatch"


def test_a_saved_table_spares_the_observation(edgewright, tiny_classifier, tiny_samples, tmp_path):
    first = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--no-repair", "--out", tmp_path / "first", "--json")
    again = edgewright(
        "calibrate", tiny_classifier, "--calibration", tiny_samples, "--no-repair", "--ranges", first.json["outputs"]["ranges"],
        "--out", tmp_path / "again", "--json",
    )  # fmt: skip

    assert again.status == 0
    for name in ("model.int8.onnx", "ranges.json", "model.calibration.cache"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_another_models_table_is_refused(edgewright, tiny_classifier, tiny_samples, table, tmp_path):
    alien = table("alien.json", {"input": (-1, 1)})

    ran = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--ranges", alien, "--out", tmp_path / "out", "--json")

    assert (ran.status, ran.code) == (1, "table-mismatch")


def test_a_table_without_a_tensor_is_refused(edgewright, tiny_classifier, tiny_samples, tmp_path):
    first = edgewright("calibrate", tiny_classifier, "--calibration", tiny_samples, "--no-repair", "--out", tmp_path / "first", "--json")
    content = json.loads((tmp_path / "first" / "ranges.json").read_text())
    del content["ranges"]["r2"]
    (tmp_path / "part.json").write_text(json.dumps(content))

    ran = edgewright(
        "calibrate", tiny_classifier, "--calibration", tiny_samples, "--ranges", tmp_path / "part.json", "--out", tmp_path / "out", "--json"
    )

    assert first.status == 0
    assert ran.code == "table-mismatch"
    assert "'r2'" in ran.json["error"]["message"]
