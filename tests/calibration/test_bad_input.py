"""Odd data and odd models: a clear error or a named warning, never a silent bad table."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.repair import RepairOptions
from edgewright.calibration.table import load_table
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.engines.model import input_specs
from onnx import numpy_helper


@pytest.fixture
def run(models, tmp_path):
    """Calibrate a model on samples, by `auto` and with repair, and hand back the result and the written model's outputs on them."""

    def start(proto, samples, *, method="auto"):
        path = models.save(proto, tmp_path / "m.onnx")
        np.savez(tmp_path / "samples.npz", input=samples)
        dataset = open_dataset(tmp_path / "samples.npz", ModelCard(), input_specs(proto))
        out = tmp_path / "out"
        out.mkdir()
        options = CalibrationOptions(method=method, threads=1, repairs=RepairOptions(ends=False))
        result = calibrate(path, dataset, out, options, progress=lambda *_: None, cancel=lambda: False)
        return result, models.run(onnx.load(str(result.onnxruntime)), {"input": samples})["logits"]

    return start


def changed(models, **weights):
    """The classifier with some weights replaced by what a function makes of them."""
    proto = models.classifier()
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            value = numpy_helper.to_array(tensor).copy()
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(weights[tensor.name](value), np.float32), tensor.name))
    return proto


def assert_sound(result):
    for entry in load_table(result.table).ranges.values():
        assert math.isfinite(entry.low)
        assert math.isfinite(entry.high)
        assert entry.low <= 0 <= entry.high


def first_two_zero(value):
    value[:2] = 0
    return value


@pytest.mark.parametrize("method", ["auto", "entropy", "minmax"])
def test_dead_channels_are_named_and_harm_nothing(models, run, method):
    proto, samples = changed(models, w1=first_two_zero, b1=first_two_zero), models.samples(40)

    result, found = run(proto, samples, method=method)

    assert "2 of 8 channels of c1 are dead: their weights are zero" in result.warnings
    assert_sound(result)
    exact = models.run(proto, {"input": samples})["logits"]
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25


def test_a_layer_of_zeros_stays_zero(models, run):
    proto, samples = changed(models, w3=np.zeros_like, b3=np.zeros_like), models.samples(40)

    result, found = run(proto, samples)

    assert any("never changed" in warning and "'c3'" in warning for warning in result.warnings)
    assert_sound(result)
    assert np.isfinite(found).all()


def test_one_sample_is_allowed_and_warned_of(models, run):
    result, found = run(models.classifier(), models.samples(1))

    assert any("only 1 samples" in warning for warning in result.warnings)
    assert_sound(result)
    assert np.isfinite(found).all()


def test_samples_that_are_all_alike_are_warned_of(models, run):
    result, _ = run(models.classifier(), np.zeros((40, 3, 8, 8), np.float32))

    assert any("'input'" in warning and "never changed" in warning for warning in result.warnings)
    assert_sound(result)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_named(models, run, bad):
    samples = models.samples(40)
    samples[17, 0, 0, 0] = bad

    with pytest.raises(Rejected) as caught:
        run(models.classifier(), samples)

    assert caught.value.code == "dataset-not-finite"
    assert "sample 17" in caught.value.message


def test_an_activation_that_overflows_is_named_with_its_sample_even_where_auto_looks_at_few(models, run):
    samples = models.samples(300)
    samples[123] = 3e38

    with pytest.raises(Rejected) as caught:
        run(changed(models, w1=lambda value: np.abs(value) * 9), samples)

    assert caught.value.code == "activation-not-finite"
    assert "sample 123" in caught.value.message


def test_weights_that_are_not_finite_are_no_silent_bad_table(models, run):
    with pytest.raises(Rejected) as caught:
        run(changed(models, w3=lambda value: np.full_like(value, np.nan)), models.samples(40))

    assert caught.value.code == "activation-not-finite"
