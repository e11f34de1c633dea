"""FP8 Q/DQ: types and places, and the numbers against E4M3 arithmetic of its own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.float8 import write_float8
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.engines.model import input_specs
from onnx import TensorProto, numpy_helper

RANDOM = np.random.default_rng(3)


@pytest.fixture
def write(tmp_path):
    def run(model, samples, **options):
        out = tmp_path / "fp8"
        out.mkdir()
        return write_float8(model, open_dataset(samples, ModelCard(), input_specs(onnx.load(str(model)))), out, threads=1, **options)

    return run


def e4m3(values):
    """The nearest 8-bit float of four exponent bits (bias 7) and three mantissa bits, half to even, saturating at 448."""
    wide = values.astype(np.float64)
    exponent = np.clip(np.floor(np.log2(np.maximum(np.abs(wide), 1e-30))), -6, 8)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.rint(wide / step) * step, -448, 448)


def test_a_product_is_that_of_its_8_bit_floats(models, write, tmp_path):
    weight = RANDOM.normal(0, 0.4, (16, 8)).astype(np.float32)
    x = RANDOM.normal(0, 1, (40, 16)).astype(np.float32)
    path = models.save(
        models.model([models.node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 16]}, {"y": ["N", 8]}, {"w": weight}), tmp_path / "m.onnx"
    )
    np.savez(tmp_path / "x.npz", x=x)

    result = write(path, tmp_path / "x.npz", method="minmax")

    written = onnx.load(str(result.path))
    onnx.checker.check_model(written, full_check=True)
    a, b = np.abs(x).max() / 448, np.abs(weight).max() / 448
    expected = (e4m3(x / a) * a) @ (e4m3(weight / b) * b)
    np.testing.assert_allclose(models.run(written, {"x": x})["y"], expected, rtol=1e-3, atol=1e-3)


def test_codes_are_8_bit_floats_in_front_of_every_layer_and_biases_stay(models, write, tiny_classifier, tiny_samples):
    result = write(tiny_classifier, tiny_samples)

    graph = onnx.load(str(result.path)).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    makers = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
    assert {kinds[node.input[2]] for node in quantizers} == {TensorProto.FLOAT8E4M3FN}
    assert [makers[name].op_type for node in layers for name in node.input[:2]] == ["DequantizeLinear"] * 10
    assert {kinds[name] for node in layers for name in node.input[2:]} == {TensorProto.FLOAT}
    assert result.changed == 5
    assert result.sqnr_db > 15


def test_the_scale_lets_the_largest_value_be_448(models, write, tiny_classifier, tiny_samples):
    result = write(tiny_classifier, tiny_samples, method="minmax")

    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(result.path)).graph.initializer}
    largest = np.abs(np.load(tiny_samples)["input"]).max()
    assert float(scales["input/scale"]) == pytest.approx(largest / 448)


def test_nothing_to_quantise_is_refused(models, write, tmp_path):
    path = models.save(models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 4]}, {"y": ["N", 4]}), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones((3, 4), np.float32))

    with pytest.raises(Rejected) as caught:
        write(path, tmp_path / "x.npz")

    assert caught.value.code == "nothing-to-quantise"
