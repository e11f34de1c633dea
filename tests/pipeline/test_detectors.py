"""Detectors go all the way: several inputs and outputs, non-maximum suppression in the graph, free axes with a profile from the card.

Through build, comparison, gate and the application, by onnxruntime and by the fakes of TensorRT.
"""

from __future__ import annotations

import edgewright
import numpy as np
import pytest
from edgewright.core.budget import Budget
from edgewright.engines.provenance import trusted_keys
from edgewright.pipeline.bench import time_targets
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest
from edgewright.pipeline.target import open_target

BACKENDS = ("onnxruntime", "10.3", "11.4")


@pytest.fixture
def backend(request, jetson):
    """The backend's name; a release of TensorRT makes this machine one that has it."""
    if request.param == "onnxruntime":
        return "onnxruntime"
    jetson(request.param)
    return "tensorrt"


@pytest.fixture
def gated(backend, tmp_path):
    """``gated(model, data, version)`` → the chosen engine's folder, active in the state folder as the agent leaves it."""

    def run(model, data, version="1", **changes):
        engines = tmp_path / "models" / model.stem / "engines"
        engines.mkdir(parents=True, exist_ok=True)
        (engines / version).mkdir()
        request = OptimizeRequest(
            model=str(model),
            calibration=str(data),
            evaluation=None,
            out=str(engines / version),
            backend=backend,
            recipe="none",
            budget=Budget(min_sqnr_db=30.0),
            bench_seconds=0.05,
            identity=str(tmp_path),
            model_version=version,
        )
        result = optimize(request, progress=lambda *_: None, cancel=lambda: False)
        assert (result.verdict, result.chosen.backend) == ("accepted", backend), result.notes
        link = tmp_path / "models" / model.stem / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"engines/{version}/{result.chosen.name}")
        return link.resolve()

    return run


@pytest.fixture
def detector(models, tmp_path):
    """The model and its samples."""
    random = np.random.default_rng(5)
    np.savez(tmp_path / "data.npz", features=random.normal(0, 1, (24, 16)).astype(np.float32), gain=np.full((24, 1), 2, np.float32))
    return models.save(models.detector(), tmp_path / "detector.onnx"), tmp_path / "data.npz"


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_detector_with_suppression_in_its_graph(gated, detector, models, tmp_path):
    folder = gated(*detector)
    random = np.random.default_rng(9)
    feeds = [{"features": random.normal(0, 1, (1, 16)).astype(np.float32), "gain": np.float32([[gain]])} for gain in (0.1, 1, 4)]

    with edgewright.open("detector", state=tmp_path) as model:
        found = [model.infer(entry) for entry in feeds]
    target = open_target(folder, calibration=detector[1], trusted=trusted_keys(tmp_path))
    (timing,) = time_targets([target], seconds=0.05)

    lengths = []
    for entry, outputs in zip(feeds, found, strict=True):
        expected = models.run(models.detector(), entry)
        for name, value in expected.items():
            np.testing.assert_allclose(value, outputs[name], rtol=1e-3, atol=1e-4)
        lengths.append(len(outputs["kept"]))
    assert len(set(lengths)) > 1
    assert timing.latency_ms.samples > 0


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_free_axes_run_in_every_size_of_the_cards_profile(gated, models, tmp_path):
    nodes = [models.node("Relu", ["x"], ["r"]), models.node("ReduceMean", ["r"], ["y"], axes=[2], keepdims=0)]
    proto = models.model(nodes, {"x": ["N", 3, "length"]}, {"y": ["N", 3]})
    card = "[inputs.x]\nshape_min = [1, 3, 4]\nshape_opt = [1, 3, 16]\nshape_max = [2, 3, 64]\n"
    model = models.save(proto, tmp_path / "free.onnx", card)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).normal(0, 1, (8, 3, 16)).astype(np.float32))
    gated(model, tmp_path / "data.npz")

    with edgewright.open("free", state=tmp_path) as opened:
        for batch, length in ((1, 4), (2, 64), (1, 16), (2, 5)):
            x = np.random.default_rng(length).normal(0, 1, (batch, 3, length)).astype(np.float32)

            np.testing.assert_allclose(models.run(proto, {"x": x})["y"], opened.infer({"x": x})["y"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_new_version_takes_over_without_a_gap(gated, detector, models, tmp_path):
    feeds = {"features": np.full((1, 16), 0.5, np.float32), "gain": np.float32([[2]])}
    gated(*detector)

    with edgewright.open("detector", state=tmp_path) as model:
        first = model.infer(feeds)
        gated(*detector, version="2")
        assert model.reload()
        second = model.infer(feeds)

    assert [value.shape for value in first.values()] == [value.shape for value in second.values()]
