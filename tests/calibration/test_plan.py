"""The rules of the plan on small graphs built by hand."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.plan import plan_for_onnxruntime
from onnx import helper

KERNEL = np.ones((3, 3, 1, 1), np.float32)
MATRIX = np.ones((3, 5), np.float32)


@pytest.fixture
def plan(models, tmp_path):
    """The plan for `nodes` over images x (N×3×6×6) with the weights w, v (kernels), m (matrix)."""

    def build(*nodes, outputs=("y",), weights=(), keep_float=(), shape=("N", 3, 6, 6)):
        values = {"w": KERNEL, "v": 2 * KERNEL, "m": MATRIX, **dict(weights)}
        proto = models.model(list(nodes), {"x": list(shape)}, dict.fromkeys(outputs), values)
        graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
        return plan_for_onnxruntime(graph, frozenset(keep_float))

    return build


def reasons(found):
    return {entry.node: entry.reason for entry in found.skipped}


def test_a_convolution_carries_codes_on_its_input_and_output(models, plan):
    found = plan(models.node("Conv", ["x", "w"], ["y"]))

    assert [layer.node for layer in found.layers] == ["y"]
    assert found.tensors == ("x", "y")
    assert found.observed == ("x", "y")


@pytest.mark.parametrize(("op", "inputs", "weights"), [("Relu", [], {}), ("Clip", ["lo", "hi"], {"lo": np.float32(0), "hi": np.float32(6)})])
def test_an_activation_that_alone_follows_is_fused(models, plan, op, inputs, weights):
    found = plan(models.node("Conv", ["x", "w"], ["c"]), models.node(op, ["c", *inputs], ["y"]), weights=weights)

    assert found.tensors == ("x", "y")
    assert found.layers[0].raw_output == "c"
    assert found.layers[0].output == "y"


def test_a_clip_above_zero_is_not_fused(models, plan):
    weights = {"lo": np.float32(1), "hi": np.float32(6)}
    found = plan(models.node("Conv", ["x", "w"], ["c"]), models.node("Clip", ["c", "lo", "hi"], ["y"]), weights=weights)

    assert found.layers[0].output == "c"


def test_an_activation_beside_another_reader_is_not_fused(models, plan):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Relu", ["c"], ["y"]), models.node("Neg", ["c"], ["z"])]

    assert plan(*nodes, outputs=("y", "z")).layers[0].output == "c"


def test_an_activation_after_a_graph_output_is_not_fused(models, plan):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Relu", ["c"], ["y"])]

    assert plan(*nodes, outputs=("c", "y")).layers[0].output == "c"


def test_logits_leave_a_gemm_in_float(models, plan):
    found = plan(models.node("Gemm", ["x", "m"], ["y"]), shape=("N", 3))

    assert found.tensors == ("x",)


def test_a_gemm_that_another_layer_reads_carries_codes(models, plan):
    nodes = [models.node("Gemm", ["x", "m"], ["h"]), models.node("MatMul", ["h", "m2"], ["y"])]
    found = plan(*nodes, weights={"m2": MATRIX.T.copy()}, shape=("N", 3))

    assert found.tensors == ("x", "h")


@pytest.mark.parametrize(("op", "attributes", "axis"), [("Gemm", {}, 1), ("Gemm", {"transB": 1}, 0), ("MatMul", {}, 1)])
def test_the_channel_axis_of_a_matrix(models, plan, op, attributes, axis):
    found = plan(models.node(op, ["x", "s"], ["y"], **attributes), weights={"s": np.ones((3, 3), np.float32)}, shape=("N", 3))

    assert found.layers[0].axis == axis


def test_a_pool_between_layers_joins_with_the_range_of_its_input(models, plan):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        models.node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]),
        models.node("Conv", ["p", "v"], ["y"]),
    ]
    found = plan(*nodes)

    assert found.joined == {"p"}
    assert found.range_owner("p") == "c"
    assert "p" not in found.observed


def test_a_pool_that_only_float_nodes_read_stays_in_float(models, plan):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("GlobalAveragePool", ["c"], ["g"]), models.node("Neg", ["g"], ["y"])]

    assert plan(*nodes).joined == frozenset()


def test_an_average_has_a_range_of_its_own(models, plan):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        models.node("AveragePool", ["c"], ["p"], kernel_shape=[2, 2]),
        models.node("Conv", ["p", "v"], ["y"]),
    ]

    assert set(plan(*nodes).observed) == {"x", "c", "p", "y"}


def test_a_residual_addition_joins_with_its_activation(models, plan):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        models.node("Conv", ["c", "v"], ["d"]),
        models.node("Add", ["c", "d"], ["a"]),
        models.node("Relu", ["a"], ["r"]),
        models.node("Conv", ["r", "w"], ["y"]),
    ]
    found = plan(*nodes)

    assert found.joined == {"a"}
    assert "r" in found.tensors
    assert "a" not in found.tensors


def test_an_addition_of_a_constant_stays_in_float(models, plan):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Add", ["c", "one"], ["a"]), models.node("Conv", ["a", "v"], ["y"])]
    found = plan(*nodes, weights={"one": np.ones((1, 3, 1, 1), np.float32)})

    assert found.joined == frozenset()
    assert "one" not in found.tensors


def test_the_inputs_of_a_concatenation_take_its_range(models, plan):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        models.node("Conv", ["x", "v"], ["d"]),
        models.node("Concat", ["c", "d"], ["k"], axis=1),
        models.node("Conv", ["k", "u"], ["y"]),
    ]
    found = plan(*nodes, weights={"u": np.ones((2, 6, 1, 1), np.float32)})

    assert {found.range_owner(name) for name in ("c", "d", "k")} == {"k"}
    assert found.observed == ("k", "x", "y")


@pytest.mark.parametrize(
    ("node", "weights", "words"),
    [
        (("Conv", ["x", "x2"], {}), {}, "not constant"),
        (("Conv", ["x", "deep"], {}), {"deep": np.ones((3, 3, 1, 1, 1), np.float32)}, "3 axes"),
        (("ConvTranspose", ["x", "w"], {}), {}, "no INT8 kernel"),
        (("MatMul", ["x", "cube"], {}), {"cube": np.ones((3, 6, 6), np.float32)}, "not a matrix"),
    ],
)
def test_what_cannot_be_quantised_says_why(models, tmp_path, node, weights, words):
    op, inputs, attributes = node
    shape = ["N", 3, 6, 6, 6] if "deep" in weights else ["N", 3, 6, 6]
    feeds = {"x": shape, "x2": [3, 3, 1, 1]}
    proto = models.model([models.node(op, inputs, ["y"], **attributes)], feeds, {"y": None}, {"w": KERNEL, **weights})

    found = plan_for_onnxruntime(Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model))

    assert found.layers == ()
    assert words in reasons(found)["y"]


@pytest.mark.parametrize("attributes", [{"transA": 1}, {"alpha": 0.5}, {"beta": 2.0}])
def test_a_gemm_that_scales_stays_in_float(models, plan, attributes):
    found = plan(
        models.node("Gemm", ["x", "s", "b"], ["y"], **attributes),
        weights={"s": np.ones((3, 3), np.float32), "b": np.ones(3, np.float32)},
        shape=(3, 3),
    )

    assert found.layers == ()


def test_a_bias_that_is_no_vector_of_channels_keeps_the_layer_in_float(models, plan):
    found = plan(models.node("Gemm", ["x", "m", "b"], ["y"]), weights={"b": np.ones(1, np.float32)}, shape=("N", 3))

    assert reasons(found) == {"y": "its bias is not a constant vector"}


def test_what_a_nested_graph_reads_stays_in_float(models, plan):
    branches = [
        helper.make_graph([helper.make_node("Neg", ["c"], [f"{name}_o"])], name, [], [helper.make_tensor_value_info(f"{name}_o", 1, None)])
        for name in ("then", "else")
    ]
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        helper.make_node("If", ["t"], ["y"], "if", then_branch=branches[0], else_branch=branches[1]),
    ]
    found = plan(*nodes, weights={"t": np.array(True)})

    assert found.layers == ()
    assert reasons(found) == {"c": "a nested graph reads its tensors"}


def test_what_is_kept_in_float_is_left_out(models, plan):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Conv", ["c", "v"], ["y"])]
    found = plan(*nodes, keep_float={"y"})

    assert [layer.node for layer in found.layers] == ["c"]
    assert "costs no time" in reasons(found)["y"]
