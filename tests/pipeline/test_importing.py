"""Engines of others: signed ones are taken for exactly their fingerprint and no other, and an engine of this device gets other weights."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest
from edgewright.controller.keys import init_keys, load_signer
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.messages import Signature
from edgewright.engines.manifest import manifest_bytes, read_manifest
from edgewright.engines.opening import check_folder, open_folder
from edgewright.engines.provenance import DOMAIN, SEAL_NAME, trusted_keys, write_seal
from edgewright.pipeline.cache import StageCache
from edgewright.pipeline.importing import import_engine, refit_engine
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import BuildRequest, OptimizeRequest
from edgewright.pipeline.tasks.build import build
from edgewright.pipeline.workshop import open_workshop


@pytest.fixture
def fleet(tmp_path):
    paths = FleetPaths(tmp_path / "fleet")
    init_keys(paths, "yard", dt.datetime.now(dt.timezone.utc))
    return paths


@pytest.fixture
def signed(tiny_classifier, fleet, tmp_path):
    """An engine of another device, with the role's signature alone."""
    folder = tmp_path / "elsewhere" / "engine"
    folder.parent.mkdir()
    build(BuildRequest(model=str(tiny_classifier), out=str(folder), identity=str(tmp_path / "elsewhere")), lambda *_: None)
    (folder / SEAL_NAME).unlink()
    sign = load_signer(fleet, "engines")
    write_seal(folder, manifest_bytes(folder), lambda data: Signature(*sign(DOMAIN + data)))
    return folder


@pytest.fixture
def deploy(tiny_classifier, fleet, tmp_path):
    """What the agent of this device does with a deployment of the same model; ``deploy(anchor)`` → its one candidate."""

    def run(anchor, **changes):
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        out.mkdir()
        request = OptimizeRequest(
            model=str(tiny_classifier),
            calibration=None,
            evaluation=None,
            out=str(out),
            recipe="none",
            bench_seconds=0.05,
            identity=str(tmp_path / "here"),
            cache=str(tmp_path / "cache"),
            anchor=None if anchor is None else str(anchor),
        )
        (candidate,) = optimize(msgspec.structs.replace(request, **changes), progress=lambda *_: None, cancel=lambda: False).candidates
        return candidate

    return run


def test_a_signed_engine_is_used_instead_of_a_build_and_sealed_by_this_device(signed, deploy, fleet, tmp_path, models):
    taken = import_engine(signed, StageCache(tmp_path / "cache"), fleet.trust)
    candidate = deploy(fleet.trust)

    assert (candidate.is_cached, candidate.fingerprint) == (True, taken.fingerprint)
    _, runner = open_folder(tmp_path / "out-0" / "fp32", trusted_keys(tmp_path / "here"))
    with runner:
        assert runner.infer({"input": models.samples(1)})["logits"].shape == (1, 4)


@pytest.mark.parametrize("reason", ["not allowed", "other options"])
def test_an_imported_engine_is_not_used_where_it_is_not_wanted(signed, deploy, fleet, tmp_path, reason):
    import_engine(signed, StageCache(tmp_path / "cache"), fleet.trust)

    candidate = deploy(None) if reason == "not allowed" else deploy(fleet.trust, threads=2)

    assert not candidate.is_cached


@pytest.mark.parametrize("damage", ["engine", "manifest", "seal", "fleet"])
def test_what_the_role_has_not_signed_like_this_is_not_imported(signed, fleet, tmp_path, damage):
    anchor = fleet.trust
    if damage == "engine":
        (signed / "model.onnx").write_bytes(b"code")
    elif damage == "manifest":
        (signed / "manifest.json").write_bytes(manifest_bytes(signed).replace(b'"threads": 1', b'"threads": 2'))
    elif damage == "seal":
        (signed / SEAL_NAME).unlink()
    else:
        other = FleetPaths(tmp_path / "another")
        init_keys(other, "another", dt.datetime.now(dt.timezone.utc))
        anchor = other.trust

    with pytest.raises(Unfit) as caught:
        import_engine(signed, StageCache(tmp_path / "cache"), anchor)

    assert caught.value.code == ("engine-unusable" if damage == "engine" else "engine-untrusted")
    assert list(tmp_path.glob("cache/engines/*")) == []


@pytest.fixture
def refittable(jetson, tiny_classifier, tmp_path):
    """A plan of this device that may get other weights."""
    jetson("10.3")
    request = BuildRequest(model=str(tiny_classifier), out=str(tmp_path / "engine"), backend="tensorrt", identity=str(tmp_path), is_refittable=True)
    build(request, lambda *_: None)
    return tmp_path / "engine"


def test_a_refitted_engine_is_one_of_this_device_with_the_fingerprint_of_its_new_model(refittable, models, tmp_path):
    model = models.save(models.classifier(seed=7), tmp_path / "new.onnx", models.ARRAY_CARD)
    samples = {"input": models.samples(1)}

    result = refit_engine(refittable, model, tmp_path / "refitted", open_workshop(tmp_path), lambda *_: None)

    manifest, runner = open_folder(tmp_path / "refitted", trusted_keys(tmp_path))
    with runner:
        np.testing.assert_allclose(models.run(models.classifier(seed=7), samples)["logits"], runner.infer(samples)["logits"], rtol=1e-5, atol=1e-6)
    request = BuildRequest(model=str(model), out=str(tmp_path / "built"), backend="tensorrt", identity=str(tmp_path), is_refittable=True)
    assert manifest.fingerprint == result.fingerprint == build(request, lambda *_: None).fingerprint
    assert (manifest.model, manifest.card) == ("new", "card.toml")
    assert check_folder(refittable, trusted_keys(tmp_path)).manifest.fingerprint != manifest.fingerprint


def test_weights_that_do_not_fit_leave_nothing(refittable, models, tmp_path):
    model = models.save(models.wide_classifier(), tmp_path / "other.onnx")

    with pytest.raises(Rejected) as caught:
        refit_engine(refittable, model, tmp_path / "refitted", open_workshop(tmp_path), lambda *_: None)

    assert caught.value.code == "refit-refused"
    assert [path.name for path in tmp_path.iterdir() if "refitted" in path.name] == []


def test_an_engine_that_was_not_built_for_it_is_not_refitted(refittable, tiny_classifier, tmp_path):
    build(BuildRequest(model=str(tiny_classifier), out=str(tmp_path / "fixed"), backend="tensorrt", identity=str(tmp_path)), lambda *_: None)

    with pytest.raises(Rejected) as caught:
        refit_engine(tmp_path / "fixed", tiny_classifier, tmp_path / "refitted", open_workshop(tmp_path), lambda *_: None)

    assert caught.value.code == "not-refittable"
    assert read_manifest(tmp_path / "fixed").backend == "tensorrt"
