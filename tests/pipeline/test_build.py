from __future__ import annotations

import os
from dataclasses import replace

import pytest
from edgewright.core.errors import Rejected
from edgewright.engines.base import ShapeProfile
from edgewright.engines.manifest import verify_manifest
from edgewright.pipeline.build import build_engine, build_options, engine_fingerprint, finish_engine
from edgewright.pipeline.subject import open_subject


@pytest.fixture
def build(tiny_classifier, tmp_path):
    def run(name="fp32", model=tiny_classifier, **options):
        subject = open_subject(tiny_classifier)
        return build_engine(
            name,
            "onnxruntime",
            model,
            subject,
            tmp_path,
            build_options(subject, precision="fp32", threads=1, batch=1),
            progress=lambda _share, _note: None,
            **options,
        )

    return run


def test_an_engine_folder_is_finished_by_its_manifest(build, tmp_path):
    built = build()
    finish_engine(built, model_name="m", deployment="d", model_version="3")

    manifest = verify_manifest(tmp_path / "fp32")
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

    same = engine_fingerprint(tiny_classifier, "", built.engine, built.options)
    assert same == built.fingerprint
    assert same != engine_fingerprint(tiny_classifier, "table", built.engine, built.options)
    assert same != engine_fingerprint(tiny_classifier, "", built.engine, replace(built.options, threads=2))
    assert same != engine_fingerprint(tiny_classifier, "", replace(built.engine, backend_version="0"), built.options)


def test_the_cards_shapes_become_profiles(models, tmp_path):
    card = "[inputs.input]\nshape_min = [1, 3, 8, 8]\nshape_opt = [2, 3, 8, 8]\nshape_max = [4, 3, 8, 8]\n"
    subject = open_subject(models.save(models.classifier(), tmp_path / "m.onnx", card))

    options = build_options(subject, precision="int8", threads=2, batch=4)

    assert options.profiles == {"input": ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}
    assert (options.precision, options.threads, options.batch) == ("int8", 2, 4)
