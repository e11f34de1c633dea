"""What is written, held against arithmetic of its own: scales, zero points, weight and bias codes, and the model's numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.dialects import ONNXRUNTIME_ARM, ONNXRUNTIME_X86, TENSORRT
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.plan import plan_for_onnxruntime
from edgewright.calibration.table import Range, RangeTable
from edgewright.calibration.writer import QdqWriter, WeightCodes, activation_codes, large_enough_for_bias, weight_codes, weight_scales
from onnx import numpy_helper

RANDOM = np.random.default_rng(7)
KERNEL = RANDOM.normal(0, 0.5, (4, 3, 3, 3)).astype(np.float32)
BIAS = RANDOM.normal(0, 1, 4).astype(np.float32)
X = RANDOM.uniform(-1, 2, (2, 3, 6, 6)).astype(np.float32)


def interval(low, high):
    return Range(low, high, "minmax", 1)


@pytest.fixture
def writer(models, tmp_path):
    def build(proto, ranges, dialect=ONNXRUNTIME_X86, weights=None):
        graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
        table = RangeTable(model="m", ranges={name: interval(*bounds) for name, bounds in ranges.items()})
        return QdqWriter(graph, plan_for_onnxruntime(graph), table, dialect, weights or {})

    return build


@pytest.fixture
def one_conv(models):
    nodes = [models.node("Conv", ["x", "w", "b"], ["c"]), models.node("Relu", ["c"], ["y"])]
    return models.model(nodes, {"x": ["N", 3, 6, 6]}, {"y": ["N", 4, 4, 4]}, {"w": KERNEL, "b": BIAS})


RANGES = {"x": (-1.0, 2.0), "y": (0.0, 4.0)}


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def fake_quantized(values, scale, zero, low, high):
    """QuantizeLinear and DequantizeLinear as ONNX defines them: half to even, then saturation."""
    codes = np.clip(np.rint(values.astype(np.float64) / scale) + zero, low, high)
    return (codes - zero) * scale


def convolve(x, w, b):
    """A convolution written as a sum over shifted pictures."""
    height, width = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    y = np.zeros((len(x), len(w), height, width)) + b.reshape(1, -1, 1, 1)
    for row in range(w.shape[2]):
        for column in range(w.shape[3]):
            y += np.einsum("nihw,oi->nohw", x[:, :, row : row + height, column : column + width], w[:, :, row, column])
    return y


@pytest.mark.parametrize(
    ("bounds", "scale", "zero"),
    [((0, 2.55), 0.01, 0), ((-1, 1.55), 0.01, 100), ((-2.55, 0), 0.01, 255), ((0, 0), 1.0, 0), ((-0.004, 2.546), 0.01, 0)],
)
def test_unsigned_codes_cover_the_interval(bounds, scale, zero):
    assert activation_codes(interval(*bounds), ONNXRUNTIME_X86) == (pytest.approx(scale), zero)


@pytest.mark.parametrize(("bounds", "scale"), [((0, 1.27), 0.01), ((-2.54, 1), 0.02), ((0, 0), 1.0)])
def test_signed_codes_are_symmetric(bounds, scale):
    assert activation_codes(interval(*bounds), ONNXRUNTIME_ARM) == (pytest.approx(scale), 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_weight_of_each_channel_gets_the_last_code(axis):
    weight = RANDOM.normal(size=(5, 6)).astype(np.float32)

    scales = weight_scales(weight, axis, 127)
    codes = weight_codes(weight, scales, axis, 127)

    assert np.abs(codes).max(axis=1 - axis).tolist() == [127] * weight.shape[axis]
    error = np.abs(codes * np.expand_dims(scales, 1 - axis) - weight)
    assert (error <= np.expand_dims(scales, 1 - axis) / 2 * 1.0001).all()


def test_a_channel_of_zeros_has_scale_one():
    weight = np.zeros((2, 3), np.float32)

    assert weight_scales(weight, 0, 127).tolist() == [1, 1]
    assert not weight_codes(weight, weight_scales(weight, 0, 127), 0, 127).any()


def test_a_bias_never_overflows_its_code():
    scales = large_enough_for_bias(np.float32([1e-9, 0.01]), np.float32([50, 50]), np.float32(0.02))

    assert scales[1] == np.float32(0.01)
    assert 50 / (float(scales[0]) * 0.02) < 2**31 - 1


def test_writes_the_codes_that_arithmetic_gives(writer, one_conv):
    found = constants(writer(one_conv, RANGES).write())

    x_scale, y_scale = np.float32(3 / 255), np.float32(4 / 255)
    scales = np.abs(KERNEL).reshape(4, -1).max(1) / 127
    assert (found["x/scale"], found["x/zero"]) == (pytest.approx(x_scale), 85)
    assert (found["y/scale"], found["y/zero"]) == (pytest.approx(y_scale), 0)
    assert found["x/zero"].dtype == np.uint8
    assert found["c/weight/scale"] == pytest.approx(scales, rel=1e-6)
    assert np.array_equal(found["c/weight/q"], np.rint(KERNEL / scales.reshape(-1, 1, 1, 1)).astype(np.int8))
    assert found["c/bias/scale"] == pytest.approx(x_scale * scales, rel=1e-6)
    assert np.abs(found["c/bias/q"] - BIAS / (x_scale * scales)).max() <= 0.51
    assert found["c/bias/q"].dtype == np.int32
    assert {"w", "b"}.isdisjoint(found)


def test_the_written_model_computes_what_integers_compute(writer, one_conv, models):
    model = writer(one_conv, RANGES).write()

    scales = np.abs(KERNEL).reshape(4, -1).max(1) / 127
    x = fake_quantized(X, np.float32(3 / 255), 85, 0, 255)
    w = np.rint(KERNEL / scales.reshape(-1, 1, 1, 1)) * scales.reshape(-1, 1, 1, 1)
    step = 4 / 255
    y = fake_quantized(np.maximum(convolve(x, w, BIAS), 0), step, 0, 0, 255)
    found = models.run(model, {"x": X})["y"]
    # A value on the border between two codes may fall to either side.
    assert np.abs(found - y).max() <= step * 1.001
    assert (np.abs(found - y) > step / 100).mean() < 0.01


@pytest.mark.parametrize("dialect", [ONNXRUNTIME_X86, ONNXRUNTIME_ARM, TENSORRT])
def test_every_dialect_stays_near_the_original(writer, one_conv, models, dialect):
    exact = models.run(one_conv, {"x": X})["y"]

    found = models.run(writer(one_conv, {"x": (-1, 2), "y": (0, float(exact.max()))}, dialect).write(), {"x": X})["y"]

    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 35


def test_tensorrt_keeps_the_bias_in_float(writer, one_conv):
    found = constants(writer(one_conv, RANGES, TENSORRT).write())

    assert np.array_equal(found["c/bias"], BIAS)
    assert found["x/zero"].dtype == np.int8
    assert not found["x/zero"].any()


def test_inputs_and_outputs_keep_names_types_and_shapes(writer, one_conv):
    model = writer(one_conv, RANGES).write()

    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input == one_conv.graph.input
    assert model.graph.output == one_conv.graph.output


def test_two_layers_may_share_weights(writer, models):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Conv", ["c", "w"], ["y"])]
    square = KERNEL[:3]
    proto = models.model(nodes, {"x": ["N", 3, 6, 6]}, {"y": None}, {"w": square})
    exact = models.run(proto, {"x": X})["y"]
    reach = float(np.abs(exact).max())

    found = models.run(writer(proto, {"x": (-1, 2), "c": (-8, 8), "y": (-reach, reach)}).write(), {"x": X})["y"]

    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25


def test_a_quantised_tensor_may_be_a_graph_output_too(writer, models):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Conv", ["c", "v"], ["y"])]
    proto = models.model(nodes, {"x": ["N", 3, 6, 6]}, {"c": None, "y": None}, {"w": KERNEL[:3], "v": KERNEL[:, :, :1, :1].copy()})
    exact = models.run(proto, {"x": X})
    ranges = {name: (float(values.min()), float(values.max())) for name, values in exact.items()}

    model = writer(proto, {"x": (-1, 2), **ranges}).write()

    onnx.checker.check_model(model, full_check=True)
    found = models.run(model, {"x": X})
    assert np.abs(found["c"] - exact["c"]).max() < 0.2
    assert np.abs(found["y"] - exact["y"]).max() < 0.4


def test_names_that_the_model_uses_already_are_not_used_again(writer, models):
    nodes = [models.node("Conv", ["x", "layer/weight/q", "layer/bias"], ["x/q"], "layer"), models.node("Relu", ["x/q"], ["y"])]
    proto = models.model(nodes, {"x": ["N", 3, 6, 6]}, {"y": None}, {"layer/weight/q": KERNEL, "layer/bias": BIAS})
    exact = models.run(proto, {"x": X})["y"]

    model = writer(proto, {"x": (-1, 2), "y": (0, float(exact.max()))}).write()

    onnx.checker.check_model(model, full_check=True)
    assert np.abs(models.run(model, {"x": X})["y"] - exact).max() < 0.1


def test_a_gemm_without_transposition_is_coded_along_its_columns(writer, models):
    weight, bias = RANDOM.normal(size=(6, 5)).astype(np.float32), RANDOM.normal(size=5).astype(np.float32)
    proto = models.model([models.node("Gemm", ["x", "w", "b"], ["y"])], {"x": ["N", 6]}, {"y": None}, {"w": weight, "b": bias})
    x = RANDOM.uniform(-1, 1, (8, 6)).astype(np.float32)

    model = writer(proto, {"x": (-1, 1)}).write()

    assert constants(model)["y/weight/scale"] == pytest.approx(np.abs(weight).max(0) / 127, rel=1e-6)
    assert models.run(model, {"x": x})["y"] == pytest.approx(x @ weight + bias, abs=0.05)


def test_given_weights_replace_rounding(writer, one_conv):
    codes = WeightCodes(np.ones(KERNEL.shape, np.int8), np.full(4, 0.5, np.float32), np.zeros(4, np.float32))

    found = constants(writer(one_conv, RANGES, weights={"c": codes}).write())

    assert (found["c/weight/q"] == 1).all()
    assert (found["c/bias/q"] == 0).all()


def test_a_convolution_without_a_bias_gets_one_that_was_given(writer, models):
    proto = models.model([models.node("Conv", ["x", "w"], ["y"])], {"x": ["N", 3, 6, 6]}, {"y": None}, {"w": KERNEL})
    codes = WeightCodes(np.zeros(KERNEL.shape, np.int8), np.ones(4, np.float32), np.float32([1, 2, 3, 4]))

    y = models.run(writer(proto, {"x": (-1, 2), "y": (0, 5.1)}, weights={"y": codes}).write(), {"x": X})["y"]

    assert y[0, :, 0, 0] == pytest.approx([1, 2, 3, 4], abs=0.02)


def test_padding_is_exactly_zero(writer, models):
    proto = models.model(
        [models.node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"x": ["N", 3, 6, 6]}, {"y": None}, {"w": np.ones((1, 3, 3, 3), np.float32)}
    )
    ones = np.ones((1, 3, 6, 6), np.float32)

    y = models.run(writer(proto, {"x": (-0.3, 2.25), "y": (0, 51)}).write(), {"x": ones})["y"]

    # Corners see 4 of 9 places, edges 6: the rest is padding, which has a code of its own.
    assert y[0, 0, 0, 0] == pytest.approx(12, abs=0.11)
    assert y[0, 0, 0, 1] == pytest.approx(18, abs=0.11)
    assert y[0, 0, 1, 1] == pytest.approx(27, abs=0.11)
