"""What TensorRT gets: placement of Q/DQ by NVIDIA's rules, and the cache's published format."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.dialects import TENSORRT
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.plan import plan_for_onnxruntime
from edgewright.calibration.table import Range, RangeTable
from edgewright.calibration.tensorrt import calibration_cache, plan_for_tensorrt
from edgewright.calibration.writer import QdqWriter


def table(**reaches):
    return RangeTable(model="m", ranges={name: Range(low, high, "minmax", 1) for name, (low, high) in reaches.items()})


def test_the_cache_has_the_scale_of_each_tensor_as_big_endian_float_in_hexadecimal():
    # 3c008912 is published in TensorRT's own sample: 0.0078452, the scale of 0.99634.
    lines = calibration_cache(table(data=(-0.9963411, 0.5), conv1=(0.0, 127.0))).splitlines()

    assert lines[0] == "TRT-100300-EntropyCalibration2"
    assert lines[1] == "conv1: 3f800000"
    name, _, scale = lines[2].partition(": ")
    assert name == "data"
    assert np.frombuffer(bytes.fromhex(scale), ">f4")[0] == pytest.approx(0.0078452, rel=1e-4)


def test_a_tensor_that_never_left_zero_is_not_in_the_cache():
    assert "dead" not in calibration_cache(table(dead=(0.0, 0.0), alive=(0.0, 1.0)))


def residual(models):
    weights = {name: np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1) for name in ("w", "v", "u")}
    nodes = [
        models.node("Conv", ["input", "w"], ["c"]),
        models.node("Relu", ["c"], ["r"]),
        models.node("Conv", ["r", "v"], ["d"]),
        models.node("Add", ["d", "r"], ["sum"]),
        models.node("Relu", ["sum"], ["s"]),
        models.node("Conv", ["s", "u"], ["y"]),
    ]
    proto = models.model(nodes, {"input": ["N", 4, 5, 5]}, {"y": None}, weights)
    return models.onnx.shape_inference.infer_shapes(named(proto))


def named(proto):
    for node in proto.graph.node:
        node.name = node.output[0]
    return proto


def test_layers_are_quantised_at_their_inputs_only(models):
    plan = plan_for_tensorrt(Graph(residual(models)))

    assert [layer.node for layer in plan.layers] == ["c", "d", "y"]
    assert set(plan.tensors) == {"input", "r", "s"}


def test_the_shortcut_of_a_residual_addition_is_quantised_and_the_layer_it_fuses_into_is_not(models):
    proto = residual(models)
    proto.graph.node[3].input[1] = "c"

    plan = plan_for_tensorrt(Graph(proto))

    assert "c" in plan.tensors
    assert "d" not in plan.tensors


def test_the_written_model_is_symmetric_and_keeps_biases_in_float(models):
    graph = Graph(residual(models))
    plan = plan_for_tensorrt(graph)
    ranges = table(input=(-2.0, 2.0), r=(0.0, 2.0), s=(0.0, 4.0))

    written = QdqWriter(graph, plan, ranges, TENSORRT).write()

    zeros = {
        node.input[2]: models.onnx.numpy_helper.to_array(next(t for t in written.graph.initializer if t.name == node.input[2]))
        for node in written.graph.node
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    }
    assert {value.dtype.name for value in zeros.values()} == {"int8"}
    assert all(not value.any() for value in zeros.values())
    samples = np.random.default_rng(2).uniform(-2, 2, (3, 4, 5, 5)).astype(np.float32)
    exact, found = models.run(graph.model, {"input": samples})["y"], models.run(written, {"input": samples})["y"]
    assert np.abs(exact - found).max() < 4 * 4 / 127


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_transposed_convolution_is_a_layer_for_tensorrt_alone(models, tmp_path, has_bias):
    random = np.random.default_rng(2)
    names = ["x", "w", "b"] if has_bias else ["x", "w"]
    weights = {"w": random.normal(size=(3, 5, 2, 2)).astype(np.float32), "b": random.normal(size=5).astype(np.float32)}
    proto = models.model([models.node("ConvTranspose", names, ["y"], strides=[2, 2])], {"x": ["N", 3, 4, 4]}, {"y": None}, weights)
    graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
    x = random.uniform(-1, 1, (4, 3, 4, 4)).astype(np.float32)

    plan = plan_for_tensorrt(graph)
    written = QdqWriter(graph, plan, RangeTable(model="", ranges={"x": Range(-1, 1, "minmax", 1)}), TENSORRT).write()

    assert [layer.axis for layer in plan.layers] == [1]
    assert plan.skipped == ()
    assert [entry.reason for entry in plan_for_onnxruntime(graph).skipped] == ["ONNX Runtime has no INT8 kernel for it"]
    exact, found = models.run(graph.model, {"x": x})["y"], models.run(written, {"x": x})["y"]
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 35


def test_a_transposed_convolution_in_groups_stays_in_float(models, tmp_path):
    weights = {"w": np.ones((4, 1, 2, 2), np.float32)}
    proto = models.model([models.node("ConvTranspose", ["x", "w"], ["y"], group=4)], {"x": ["N", 4, 4, 4]}, {"y": None}, weights)

    plan = plan_for_tensorrt(Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model))

    assert plan.layers == ()
    assert [entry.op for entry in plan.skipped] == ["ConvTranspose"]
