from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.bias import channel_axes, corrected_weights
from edgewright.calibration.dialects import ONNXRUNTIME_X86
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.observers import ChannelMeans
from edgewright.calibration.plan import plan_for_onnxruntime
from edgewright.calibration.table import Range, RangeTable
from edgewright.calibration.writer import QdqWriter

RANDOM = np.random.default_rng(13)


@pytest.fixture
def correct(models, tmp_path):
    """Corrected biases of a model whose only layer reads x, and the weights as they were written."""

    def run(proto, x, axis):
        graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
        plan = plan_for_onnxruntime(graph)
        ranges = {name: Range(-8, 8, "minmax", 1) for name in plan.observed}
        writer = QdqWriter(graph, plan, RangeTable(model="m", ranges=ranges), ONNXRUNTIME_X86)
        assert channel_axes(plan) == {"x": axis}
        means = ChannelMeans(axis)
        means.add(x)
        return corrected_weights(writer, {"x": means})["y"]

    return run


def real(codes, axis):
    shape = [1] * codes.codes.ndim
    shape[axis] = -1
    return codes.codes * codes.scales.reshape(shape)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_a_gemm_keeps_its_mean(models, correct, trans_b, has_bias):
    weight, bias = RANDOM.normal(size=(6, 5)).astype(np.float32), RANDOM.normal(size=5).astype(np.float32)
    inputs = ["x", "w", "b"] if has_bias else ["x", "w"]
    node = models.node("Gemm", inputs, ["y"], transB=trans_b)
    proto = models.model([node], {"x": ["N", 6]}, {"y": None}, {"w": weight.T.copy() if trans_b else weight, "b": bias})
    x = RANDOM.uniform(0, 3, (50, 6)).astype(np.float32)

    codes = correct(proto, x, -1)

    rounded = real(codes, 0).T if trans_b else real(codes, 1)
    exact = x @ weight + (bias if has_bias else 0)
    assert (x @ rounded + codes.bias).mean(0) == pytest.approx(exact.mean(0), abs=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_keeps_its_mean(models, correct, groups):
    kernel = RANDOM.normal(size=(8, 4 // groups, 1, 1)).astype(np.float32)
    proto = models.model([models.node("Conv", ["x", "w"], ["y"], group=groups)], {"x": ["N", 4, 5, 5]}, {"y": None}, {"w": kernel})
    x = RANDOM.uniform(0, 3, (10, 4, 5, 5)).astype(np.float32)

    codes = correct(proto, x, 1)

    def mean(weights):
        outputs = []
        for channel in range(8):
            first = channel // (8 // groups) * (4 // groups)
            outputs.append(sum(weights[channel, i, 0, 0] * x[:, first + i].astype(np.float64).mean() for i in range(4 // groups)))
        return np.array(outputs)

    assert mean(real(codes, 0)) + codes.bias == pytest.approx(mean(kernel), abs=1e-5)


def test_a_larger_kernel_counts_every_place(models, correct):
    kernel = RANDOM.normal(size=(2, 1, 3, 3)).astype(np.float32)
    proto = models.model([models.node("Conv", ["x", "w"], ["y"])], {"x": ["N", 1, 5, 5]}, {"y": None}, {"w": kernel})

    codes = correct(proto, np.full((1, 1, 5, 5), 2, np.float32), 1)

    assert codes.bias == pytest.approx(2 * (kernel - real(codes, 0)).sum((1, 2, 3)), abs=1e-5)
    assert np.abs(codes.bias).max() > 0


def test_a_matmul_has_no_bias_to_correct(models, tmp_path):
    proto = models.model([models.node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 6]}, {"y": None}, {"w": np.ones((6, 5), np.float32)})
    plan = plan_for_onnxruntime(Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model))

    assert channel_axes(plan) == {}
