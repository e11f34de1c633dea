from __future__ import annotations

import json

import pytest
from edgewright.core.errors import Unfit
from edgewright.engines.manifest import MANIFEST_NAME, Manifest, list_files, read_manifest, verify_files, write_manifest
from edgewright.engines.provenance import device_signer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"engine")
    (tmp_path / "card.toml").write_bytes(b"card")
    manifest = Manifest(
        model="m",
        engine="model.onnx",
        card="card.toml",
        backend="onnxruntime",
        backend_version="1",
        provider="CPUExecutionProvider",
        fingerprint="f",
        files=list_files(tmp_path),
    )
    write_manifest(tmp_path, manifest, device_signer(tmp_path.parent / "identity"))
    return tmp_path


def test_a_whole_folder_is_verified(folder):
    manifest = read_manifest(folder)
    verify_files(folder, manifest)

    assert manifest.engine == "model.onnx"
    assert sorted(manifest.files) == ["card.toml", "model.onnx"]


@pytest.mark.parametrize("content", [b"engine!", b"enginf", b""], ids=["longer", "another byte", "empty"])
def test_a_changed_engine_is_refused(folder, content):
    (folder / "model.onnx").write_bytes(content)

    with pytest.raises(Unfit) as caught:
        verify_files(folder, read_manifest(folder))

    assert caught.value.code == "engine-unusable"
    assert "model.onnx" in caught.value.message


def test_a_missing_file_is_refused(folder):
    (folder / "card.toml").unlink()

    with pytest.raises(Unfit, match=r"card\.toml"):
        verify_files(folder, read_manifest(folder))


def test_a_manifest_reaches_into_its_own_folder_only(folder):
    (folder.parent / "outside").write_bytes(b"engine")
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    content["files"] = {"../outside": content["files"]["model.onnx"]}
    path.write_text(json.dumps(content))

    with pytest.raises(Unfit) as caught:
        verify_files(folder, read_manifest(folder))

    assert caught.value.code == "engine-unusable"


@pytest.mark.parametrize("content", ["", "[]", '{"model": 1}', "not json", "\udcff"], ids=["empty", "list", "wrong type", "text", "not text"])
def test_a_damaged_manifest_is_refused(folder, content):
    (folder / MANIFEST_NAME).write_text(content, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(Unfit) as caught:
        read_manifest(folder)

    assert caught.value.code == "engine-unusable"


def test_a_folder_without_a_manifest_is_unfinished(tmp_path):
    with pytest.raises(Unfit) as caught:
        read_manifest(tmp_path)

    assert caught.value.code == "engine-unusable"


def test_a_higher_version_is_refused_and_unknown_fields_are_not(folder):
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "novelty": 1}))
    assert read_manifest(folder).model == "m"

    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(Unfit) as caught:
        read_manifest(folder)

    assert "version 2" in caught.value.message
