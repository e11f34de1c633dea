from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.engines.opening import check_folder
from edgewright.engines.provenance import trusted_by_user


@pytest.mark.parametrize("was_there", [True, False])
def test_builds_an_engine_folder(edgewright, tiny_classifier, tmp_path, was_there):
    out = tmp_path / "engines" / "one"
    if was_there:
        out.mkdir(parents=True)

    ran = edgewright("build", tiny_classifier, "--out", out, "--json")

    assert ran.status == 0
    assert Path(ran.json["path"]).parent == out
    assert ran.json["backend"] == "onnxruntime"
    assert ran.json["fingerprint"] == check_folder(out, trusted_by_user()).manifest.fingerprint
    assert sorted(path.name for path in out.parent.iterdir()) == ["one"]


def test_people_read_one_line(edgewright, tiny_classifier, tmp_path):
    ran = edgewright("build", tiny_classifier, "--out", tmp_path / "one")

    assert len(ran.out.splitlines()) == 1
    assert "onnxruntime" in ran.out


def test_a_full_folder_is_refused(edgewright, tiny_classifier, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    assert edgewright("build", tiny_classifier, "--out", tmp_path, "--json").code == "out-not-empty"
    assert before == sorted(tmp_path.rglob("*"))


def test_a_prescribed_batch_refuses_another(edgewright, models, tmp_path):
    path = models.save(models.classifier(batch=1), tmp_path / "m.onnx")

    assert edgewright("build", path, "--out", tmp_path / "one", "--batch", "4", "--json").code == "batch-fixed"
    assert not (tmp_path / "one").exists()
