from __future__ import annotations

import os
from dataclasses import replace

import pytest
from edgewright.core.errors import Rejected
from edgewright.engines.base import ShapeProfile
from edgewright.engines.device import engine_key
from edgewright.engines.discovery import load_backend
from edgewright.engines.fingerprint import fingerprint
from edgewright.engines.opening import check_folder
from edgewright.pipeline.build import build_engine, build_options, finish_engine
from edgewright.pipeline.subject import open_subject
from edgewright.pipeline.workshop import open_workshop


@pytest.fixture
def workshop(tmp_path_factory):
    return open_workshop(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def build(tiny_classifier, tmp_path, workshop):
    def run(name="fp32", model=tiny_classifier, workshop=workshop, **options):
        subject = open_subject(tiny_classifier)
        return build_engine(
            name,
            "onnxruntime",
            model,
            subject,
            tmp_path,
            build_options(subject, precision="fp32", threads=1, batch=1),
            workshop,
            progress=lambda _share, _note: None,
            **options,
        )

    return run


def test_an_engine_folder_is_finished_by_its_manifest(build, tmp_path, workshop):
    built = build()
    finish_engine(built, workshop, model_name="m", deployment="d", model_version="3")

    manifest = check_folder(tmp_path / "fp32", workshop.trusted).manifest
    assert (manifest.model, manifest.deployment, manifest.model_version) == ("m", "d", "3")
    assert manifest.fingerprint == built.fingerprint
    assert sorted(manifest.files) == ["card.toml", "model.onnx"]
    assert manifest.card == "card.toml"


def test_the_range_table_travels_with_the_engine(build, tmp_path):
    table = tmp_path / "ranges.json"
    table.write_text("{}")

    built = build(table=table)

    assert (built.folder / "ranges.json").read_text() == "{}"


def test_another_user_may_read_the_engine(build):
    before = os.umask(0o022)
    try:
        folder = build().folder
    finally:
        os.umask(before)

    assert folder.stat().st_mode & 0o555 == 0o555
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.iterdir())


def test_a_failed_build_leaves_nothing(build, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    before = sorted(path.name for path in tmp_path.iterdir())

    with pytest.raises(Rejected):
        build(model=broken)

    assert before == sorted(path.name for path in tmp_path.iterdir())


def test_an_interrupted_build_leaves_nothing(build, tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgewright.engines.backends.onnxruntime.OnnxRuntimeBackend.open", interrupt)

    with pytest.raises(KeyboardInterrupt):
        build()

    assert not [path for path in tmp_path.iterdir() if path.name != "model"]


def test_a_fingerprint_follows_what_it_is_made_of(build, tiny_classifier):
    built = build()
    capabilities = load_backend("onnxruntime").capabilities()

    def mark(table="", here=capabilities, **options):
        return fingerprint(engine_key(tiny_classifier, table, "onnxruntime", here, replace(built.options, **options)))

    assert mark() == built.fingerprint
    others = {
        mark("table"), mark(threads=2), mark(batch=2), mark(precision="int8"), mark(workspace_mb=1), mark(optimization_level=1), mark(dla_core=0),
        mark(is_sparse=True), mark(is_refittable=True), mark(is_stripped=True), mark(compatibility="version"), mark(provider="cuda"),
        mark(profiles={"x": ShapeProfile((1,), (1,), (1,))}), mark(here=replace(capabilities, version="0")),
        mark(here=replace(capabilities, hardware="another")), mark(here=replace(capabilities, driver="0")),
    }  # fmt: skip
    assert len(others - {mark()}) == 16


def test_the_same_fingerprint_is_not_built_again(build, tmp_path, monkeypatch):
    workshop = open_workshop(tmp_path / "identity", tmp_path / "cache")
    first = build(workshop=workshop)
    monkeypatch.setattr("edgewright.engines.backends.onnxruntime.OnnxRuntimeBackend.build", None)

    second = build("again", workshop=workshop)

    assert (first.is_cached, second.is_cached) == (False, True)
    assert first.fingerprint == second.fingerprint
    assert first.engine.path.read_bytes() == second.engine.path.read_bytes()
    assert replace(first.engine, path=second.engine.path) == second.engine


@pytest.mark.parametrize("damage", ["modified", "unsealed", "of another device", "no manifest"])
def test_a_kept_engine_that_is_not_ours_or_damaged_is_built_again(build, tmp_path, damage):
    workshop = open_workshop(tmp_path / "identity", tmp_path / "cache")
    entry = tmp_path / "cache" / "engines" / build(workshop=workshop).fingerprint
    if damage == "modified":
        (entry / "model.onnx").write_bytes(b"evil")
    elif damage == "unsealed":
        (entry / "manifest.sig").unlink()
    elif damage == "of another device":
        workshop = open_workshop(tmp_path / "other identity", tmp_path / "cache")
    else:
        (entry / "manifest.json").unlink()

    again = build("again", workshop=workshop)

    assert not again.is_cached
    assert build("once more", workshop=workshop).is_cached


def test_the_cards_shapes_become_profiles(models, tmp_path):
    card = "[inputs.input]\nshape_min = [1, 3, 8, 8]\nshape_opt = [2, 3, 8, 8]\nshape_max = [4, 3, 8, 8]\n"
    subject = open_subject(models.save(models.classifier(), tmp_path / "m.onnx", card))

    options = build_options(subject, precision="int8", threads=2, batch=4)

    assert options.profiles == {"input": ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}
    assert (options.precision, options.threads, options.batch) == ("int8", 2, 4)
