"""Plans that were built for another device or release are refused before TensorRT sees them, unless they were built to be compatible."""

from __future__ import annotations

import pytest
from edgewright.core.errors import Unfit
from edgewright.engines import cuda
from edgewright.engines.base import ShapeProfile
from edgewright.engines.manifest import read_manifest
from edgewright.engines.opening import check_folder, open_folder
from edgewright.engines.provenance import trusted_keys
from edgewright.engines.trt import family
from edgewright.pipeline.request import BuildRequest
from edgewright.pipeline.tasks.build import build


@pytest.fixture
def engine(jetson, tiny_classifier, tmp_path):
    """``engine(**options)`` is built by TensorRT 10.3 on an Orin."""

    def run(**options):
        jetson("10.3", dla_cores=2)
        tiny_classifier.with_suffix(".toml").write_text(
            "[inputs.input]\nshape_min = [1, 3, 8, 8]\nshape_opt = [2, 3, 8, 8]\nshape_max = [4, 3, 8, 8]\n"
        )
        request = BuildRequest(model=str(tiny_classifier), out=str(tmp_path / "engine"), backend="tensorrt", identity=str(tmp_path), **options)
        build(request, lambda *_: None)
        return tmp_path / "engine"

    return run


@pytest.fixture
def become(jetson, monkeypatch):
    """``become(release, name, capability)`` makes this another device; returns what its TensorRT was asked."""

    def run(release, name="Orin", capability="8.7"):
        told = jetson(release)
        told.gpu = f"SM{capability.replace('.', '')}"
        status = cuda.CudaStatus(cuda.CudaDevice(name, capability, "12.6"))
        monkeypatch.setattr(family, "cuda_status", lambda _index=0: status)
        told.loaded_with = "nothing was loaded"
        return told

    return run


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (("10.13",), "built with tensorrt 10.3.0, this device has 10.13.3.9"),
        (("10.3", "Thor", "11.0"), "built for Orin (SM87), this is Thor (SM110)"),
    ],
    ids=["another TensorRT", "another GPU"],
)
def test_a_plan_from_elsewhere_is_refused_before_it_is_loaded(engine, become, tmp_path, here, words):
    folder = engine()
    told = become(*here)

    with pytest.raises(Unfit) as caught:
        open_folder(folder, trusted_keys(tmp_path))

    assert caught.value.code == "engine-foreign"
    assert words in caught.value.message
    assert told.loaded_with == "nothing was loaded"


@pytest.mark.parametrize("damage", ["truncated", "modified"])
def test_a_damaged_plan_is_refused_before_it_is_loaded(engine, become, tmp_path, damage):
    folder = engine()
    plan = folder / "model.plan"
    data = plan.read_bytes()
    plan.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    told = become("10.3")

    with pytest.raises(Unfit) as caught:
        open_folder(folder, trusted_keys(tmp_path))

    assert caught.value.code == "engine-unusable"
    assert told.loaded_with == "nothing was loaded"


def test_a_version_compatible_plan_outlives_an_update_of_tensorrt_and_no_downgrade(engine, become, models, tmp_path):
    folder = engine(compatibility="version")
    become("10.13")

    _, runner = open_folder(folder, trusted_keys(tmp_path))
    with runner:
        assert runner.infer({"input": models.samples(1)})["logits"].shape == (1, 4)
    become("8.6")
    with pytest.raises(Unfit) as caught:
        check_folder(folder, trusted_keys(tmp_path))
    assert caught.value.code == "engine-foreign"


def test_a_hardware_compatible_plan_runs_on_another_ampere_and_nothing_older(engine, become, models, tmp_path):
    folder = engine(compatibility="hardware")
    become("10.3", "A4000", "8.6")

    _, runner = open_folder(folder, trusted_keys(tmp_path))
    with runner:
        assert runner.infer({"input": models.samples(1)})["logits"].shape == (1, 4)
    become("10.3", "Xavier", "7.2")
    with pytest.raises(Unfit) as caught:
        check_folder(folder, trusted_keys(tmp_path))
    assert caught.value.code == "engine-foreign"


def test_an_engine_is_opened_as_it_was_built(engine, tmp_path):
    folder = engine(dla_core=1, is_sparse=True, workspace_mb=64, optimization_level=2, precision="fp16")

    options = check_folder(folder, trusted_keys(tmp_path)).options

    assert (options.dla_core, options.is_sparse, options.workspace_mb, options.optimization_level) == (1, True, 64, 2)
    assert options.profiles == {"input": ShapeProfile((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}
    assert (options.precision, options.compatibility) == ("fp16", "none")
    assert read_manifest(folder).precision == "fp16"
