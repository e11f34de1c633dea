"""The most sensitive layers go back to float, measured on a network in which one layer is worse than all others together."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.repair import RepairOptions
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Unfit
from edgewright.engines.model import input_specs

RANDOM = np.random.default_rng(6)


@pytest.fixture
def lopsided(models, tmp_path):
    """Five products; into the third goes one enormous input that its weights nearly cancel, so that its codes serve nothing else."""
    nodes = [models.node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"], name=f"layer{i}") for i in range(5)]
    weights = {f"w{i}": RANDOM.normal(0, 0.25, (16, 16)).astype(np.float32) for i in range(5)}
    weights["w1"][:, 0] *= 300
    weights["w2"][0] /= 300
    path = models.save(models.model(nodes, {"h0": ["N", 16]}, {"h5": ["N", 16]}, weights), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", h0=RANDOM.normal(size=(64, 16)).astype(np.float32))
    return path


@pytest.fixture
def run(lopsided, tmp_path):
    def start(wanted, *, cancel=lambda: False):
        dataset = open_dataset(tmp_path / "x.npz", ModelCard(), input_specs(onnx.load(str(lopsided))))
        out = tmp_path / "out"
        out.mkdir()
        options = CalibrationOptions(method="minmax", repair=False, threads=1, min_sqnr_db=wanted, repairs=RepairOptions(ends=False))
        return calibrate(lopsided, dataset, out, options, progress=lambda *_: None, cancel=cancel)

    return start


def sqnr_db(models, one, other):
    x = {"h0": RANDOM.normal(size=(200, 16)).astype(np.float32)}
    exact, found = (models.run(onnx.load(str(path)), x)["h5"].astype(np.float64) for path in (one, other))
    return 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())


def test_the_layer_that_costs_most_goes_back_first_and_no_more_than_needed(models, run, lopsided):
    result = run(25.0)

    assert [entry.node for entry in result.skipped] == ["layer2"]
    assert result.quantized == 4
    assert "layer2 was kept in float" in result.warnings[0]
    assert sqnr_db(models, lopsided, result.onnxruntime) > 24


def test_a_budget_that_is_kept_changes_nothing(models, run, lopsided):
    result = run(-10.0)

    assert result.quantized == 5
    assert sqnr_db(models, lopsided, result.onnxruntime) < 20


def test_what_cannot_be_reached_is_said(run):
    result = run(150.0)

    assert any("150 dB were wanted" in warning for warning in result.warnings)
    assert result.quantized == 4


def test_tensorrts_file_keeps_the_same_layers_in_float(run):
    result = run(25.0)

    nodes = {node.name: node for node in onnx.load(str(result.tensorrt)).graph.node}
    assert nodes["layer2"].input[1] == "w2"
    assert nodes["layer1"].input[1] != "w1"


def test_is_cancelled_between_layers(run):
    """Each of 64 samples asks once; what asks after them is the measuring of layers."""
    asked = []
    with pytest.raises(Unfit) as caught:
        run(150.0, cancel=lambda: asked.append(1) is None and len(asked) > 66)

    assert caught.value.code == "cancelled"
