"""Half precision as casts: types, what stays in float32 and why, and the numbers against arithmetic of its own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.half_writer import HALF_MAX, MAX_REACH, half_model
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.table import Range
from onnx import TensorProto, numpy_helper

RANDOM = np.random.default_rng(5)
WEIGHT = RANDOM.normal(0, 0.5, (6, 4)).astype(np.float32)


@pytest.fixture
def halve(models, tmp_path):
    def run(proto, ranges=None):
        graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
        written = half_model(graph, {name: Range(*bounds, "minmax", 1) for name, bounds in (ranges or {}).items()})
        onnx.checker.check_model(written.model, full_check=True)
        return written

    return run


def types(model):
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = inferred.graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def casts(model):
    return [node for node in model.graph.node if node.op_type == "Cast"]


def test_a_product_rounds_as_half_precision_does(models, halve):
    written = halve(models.model([models.node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 6]}, {"y": ["N", 4]}, {"w": WEIGHT}))
    x = RANDOM.normal(0, 1, (9, 6)).astype(np.float32)

    y = models.run(written.model, {"x": x})["y"]

    expected = (x.astype(np.float16).astype(np.float64) @ WEIGHT.astype(np.float16).astype(np.float64)).astype(np.float32)
    assert written.halved == 1
    np.testing.assert_allclose(y, expected, rtol=2e-3, atol=2e-3)


def test_inputs_outputs_and_their_types_stay_and_constants_take_half_the_bytes(models, halve):
    written = halve(models.classifier())

    assert [(value.name, value.type.tensor_type.elem_type) for value in written.model.graph.input] == [("input", TensorProto.FLOAT)]
    assert [(value.name, value.type.tensor_type.elem_type) for value in written.model.graph.output] == [("logits", TensorProto.FLOAT)]
    assert {tensor.data_type for tensor in written.model.graph.initializer} == {TensorProto.FLOAT16}
    assert len(casts(written.model)) == 2
    assert written.kept == ()


def test_a_tensor_that_reaches_too_far_stays_in_float32_with_all_that_touches_it(models, halve):
    nodes = [
        models.node("Relu", ["x"], ["a"]),
        models.node("Mul", ["a", "k"], ["b"]),
        models.node("Mul", ["b", "h"], ["c"]),
        models.node("Relu", ["c"], ["y"]),
    ]
    weights = {"k": np.float32(1e4), "h": np.float32(1e-4)}
    proto = models.model(nodes, {"x": ["N", 6]}, {"y": ["N", 6]}, weights)
    x = np.full((1, 6), 20.0, np.float32)

    written = halve(proto, {"b": (0.0, 2e5), "a": (0.0, 20.0), "c": (0.0, 20.0)})

    assert [entry.node for entry in written.kept] == ["b", "c"]
    assert all("reaches 2e+05" in entry.reason for entry in written.kept)
    np.testing.assert_allclose(models.run(written.model, {"x": x})["y"], x, rtol=1e-3)


def test_a_range_within_a_quarter_of_the_largest_half_is_halved(models, halve):
    proto = models.model([models.node("Relu", ["x"], ["y"])], {"x": ["N", 6]}, {"y": ["N", 6]})

    assert halve(proto, {"y": (0.0, MAX_REACH)}).halved == 1
    assert halve(proto, {"y": (0.0, MAX_REACH * 1.01)}).halved == 0


@pytest.mark.parametrize(("value", "why"), [(HALF_MAX * 2, "beyond half precision"), (1e-12, "become zero"), (np.inf, "beyond half precision")])
def test_a_constant_that_half_precision_cannot_hold_keeps_its_node_in_float32(models, halve, value, why):
    proto = models.model([models.node("Add", ["x", "c"], ["y"])], {"x": ["N", 6]}, {"y": ["N", 6]}, {"c": np.float32([value])})

    written = halve(proto)

    assert [entry.op for entry in written.kept] == ["Add"]
    assert why in written.kept[0].reason
    assert casts(written.model) == []


def test_a_softmax_stays_in_float32_between_halves(models, halve):
    nodes = [models.node("MatMul", ["x", "w"], ["a"]), models.node("Softmax", ["a"], ["b"]), models.node("MatMul", ["b", "v"], ["y"])]
    weights = {"w": WEIGHT, "v": WEIGHT.T.copy()}
    written = halve(models.model(nodes, {"x": ["N", 6]}, {"y": ["N", 6]}, weights))

    kinds = types(written.model)
    assert (kinds["a"], kinds["b"], kinds["b/half"]) == (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16)
    assert [entry.op for entry in written.kept] == ["Softmax"]


def test_what_an_operator_wants_in_float32_stays_so(models, halve):
    """Resize takes its scales as float32 whatever its data are."""
    nodes = [models.node("Resize", ["x", "", "scales"], ["y"], mode="nearest")]
    written = halve(models.model(nodes, {"x": [1, 2, 4, 4]}, {"y": [1, 2, 8, 8]}, {"scales": np.float32([1, 1, 2, 2])}))

    assert written.halved == 1
    assert {tensor.name: tensor.data_type for tensor in written.model.graph.initializer} == {"scales": TensorProto.FLOAT}


def test_a_constant_that_both_kinds_read_is_there_in_both(models, halve):
    nodes = [models.node("Add", ["x", "c"], ["a"]), models.node("Pow", ["a", "c"], ["y"])]
    written = halve(models.model(nodes, {"x": ["N", 6]}, {"y": ["N", 6]}, {"c": np.float32([2.0])}))

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.model.graph.initializer}
    assert {name: value.dtype.name for name, value in values.items()} == {"c": "float32", "c/half": "float16"}
    np.testing.assert_array_equal(models.run(written.model, {"x": np.ones((1, 6), np.float32)})["y"], np.full((1, 6), 9.0))


def test_nested_graphs_stay_in_float32_and_find_what_they_capture(models, halve):
    inner = [
        onnx.helper.make_graph(
            [models.node("Mul", ["a", factor], [f"y_{factor}"])], factor, [], [onnx.helper.make_tensor_value_info(f"y_{factor}", 1, None)]
        )
        for factor in ("one", "two")
    ]
    nodes = [models.node("Relu", ["x"], ["a"]), models.node("If", ["flag"], ["y"], then_branch=inner[0], else_branch=inner[1])]
    weights = {"flag": np.asarray(False), "one": np.float32([1]), "two": np.float32([2])}
    written = halve(models.model(nodes, {"x": ["N", 6]}, {"y": ["N", 6]}, weights))

    x = np.full((1, 6), 3.0, np.float32)
    assert [(entry.op, entry.reason) for entry in written.kept] == [("If", "it holds nested graphs")]
    np.testing.assert_array_equal(models.run(written.model, {"x": x})["y"], 2 * x)


def test_whole_numbers_are_neither_halved_nor_told_of(models, halve):
    nodes = [models.node("Shape", ["x"], ["s"]), models.node("Gather", ["s", "i"], ["n"]), models.node("Relu", ["x"], ["y"])]
    proto = models.model(nodes, {"x": ["N", 6]}, {"y": ["N", 6], "n": []}, {"i": np.asarray(0, np.int64)})
    proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    written = halve(proto)

    assert written.halved == 2
    assert written.kept == ()
    assert types(written.model)["n"] == TensorProto.INT64
