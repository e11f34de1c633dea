"""Single nodes as models: fused activations stay with their layer, codes go in and out as ONNX defines them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.plan import plan_for_onnxruntime
from edgewright.calibration.step import Codes, StepModel, steps

RANDOM = np.random.default_rng(13)


@pytest.fixture
def graph(models, tmp_path):
    return Graph(normalized_model(models.save(models.classifier(), tmp_path / "m.onnx")).model)


@pytest.fixture
def step_models(graph):
    values = (*graph.model.graph.value_info, *graph.model.graph.input, *graph.model.graph.output)
    return StepModel(graph, {value.name: value.type.tensor_type.elem_type for value in values}, 1)


@pytest.fixture
def first(graph):
    return steps(graph, plan_for_onnxruntime(graph))[0]


def test_steps_cover_the_network_with_activations_at_their_layers(graph):
    found = steps(graph, plan_for_onnxruntime(graph))

    assert [[node.op_type for node in step.nodes] for step in found] == [
        ["Conv", "Relu"], ["MaxPool"], ["Conv", "Clip"], ["Conv"], ["Add"], ["Conv", "Relu"], ["GlobalAveragePool"], ["Flatten"], ["Gemm"],
    ]  # fmt: skip
    assert [step.layer is not None for step in found] == [True, False, True, True, False, True, False, False, True]
    assert found[0].sources == ("input",)
    assert set(found[4].sources) == {"c3", "p1"}


def test_the_exact_step_gives_its_raw_output_and_its_own(models, step_models, first):
    x = models.samples(2)

    with step_models.exact(first) as runner:
        found = runner.infer({"input": x})

    proto = models.classifier()
    proto.graph.output.append(onnx.helper.make_tensor_value_info("c1", 1, None))
    raw = models.run(proto, {"input": x})["c1"]
    np.testing.assert_allclose(found["c1"], raw, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["r1"], np.maximum(raw, 0), rtol=1e-5, atol=1e-6)


def test_the_raw_step_decodes_its_input_and_has_neither_bias_nor_activation(models, graph, step_models, first):
    codes = RANDOM.integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)
    weight = graph.constant("w1")
    scale, zero = np.float32(0.02), np.uint8(120)

    with step_models.raw(first, {"input": Codes(scale, np.asarray(zero))}, weight) as runner:
        found = runner.infer({"input": codes})["c1"]

    plain = models.model([models.node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"x": ["N", 3, 8, 8]}, {"y": None}, {"w": weight})
    real = (codes.astype(np.float32) - 120) * np.float32(0.02)
    np.testing.assert_allclose(found, models.run(plain, {"x": real})["y"], rtol=1e-4, atol=1e-5)


def test_the_coded_step_hands_on_codes(models, graph, step_models, first):
    x = models.samples(2)
    scale = np.float32(0.01)

    with step_models.coded(first, {"r1": Codes(scale, np.asarray(np.uint8(0)))}, graph.constant("w1"), np.zeros(8, np.float32)) as runner:
        found = runner.infer({"input": x})["r1//q"]

    plain = models.model([models.node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"x": ["N", 3, 8, 8]}, {"y": None}, {"w": graph.constant("w1")})
    expected = np.clip(np.rint(np.maximum(models.run(plain, {"x": x})["y"], 0) / scale), 0, 255)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
