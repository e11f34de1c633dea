"""Normalising changes the form of a model and never what it computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.normalize import normalized_model
from edgewright.core.errors import Rejected, Unfit
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(2, 3, 6, 6)).astype(np.float32)
KERNEL = RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32)
NORM = {
    "gamma": RANDOM.uniform(0.5, 2, 4).astype(np.float32),
    "beta": RANDOM.normal(size=4).astype(np.float32),
    "mean": RANDOM.normal(size=4).astype(np.float32),
    "variance": RANDOM.uniform(0.5, 2, 4).astype(np.float32),
}


@pytest.fixture
def normalize(models, tmp_path):
    return lambda proto: normalized_model(models.save(proto, tmp_path / "m.onnx"))


@pytest.fixture
def image_model(models):
    """A model of `nodes` from x (N×3×6×6) to y, with `KERNEL` as w and the parameters of a batch norm."""

    def build(*nodes, weights=(), outputs=None, opset=17):
        return models.model(list(nodes), {"x": ["N", 3, 6, 6]}, outputs or {"y": None}, {"w": KERNEL, **NORM, **dict(weights)}, opset=opset)

    return build


def ops(model):
    return [node.op_type for node in model.graph.node]


def norm(models, source, target, **attributes):
    return models.node("BatchNormalization", [source, *NORM], [target], **attributes)


@pytest.mark.parametrize("with_bias", [False, True])
def test_a_batch_norm_is_folded_into_its_convolution(models, normalize, image_model, with_bias):
    inputs = ["x", "w", "b"] if with_bias else ["x", "w"]
    proto = image_model(models.node("Conv", inputs, ["c"]), norm(models, "c", "y", epsilon=0.01), weights={"b": np.float32([1, 2, 3, 4])})

    found = normalize(proto)

    assert ops(found.model) == ["Conv"]
    assert models.run(found.model, {"x": X})["y"] == pytest.approx(models.run(proto, {"x": X})["y"], abs=1e-4)


def test_a_batch_norm_stays_where_something_else_reads_the_convolution(models, normalize, image_model):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), norm(models, "c", "n"), models.node("Add", ["c", "n"], ["y"])]

    assert ops(normalize(image_model(*nodes)).model) == ["Conv", "BatchNormalization", "Add"]


def test_a_batch_norm_stays_where_two_convolutions_share_weights(models, normalize, image_model):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"]),
        norm(models, "c", "n"),
        models.node("Conv", ["x", "w"], ["d"]),
        models.node("Add", ["d", "n"], ["y"]),
    ]
    proto = image_model(*nodes)

    found = normalize(proto)

    assert "BatchNormalization" in ops(found.model)
    assert models.run(found.model, {"x": X})["y"] == pytest.approx(models.run(proto, {"x": X})["y"], abs=1e-4)


def test_a_batch_norm_in_training_mode_stays(models, normalize, image_model):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), norm(models, "c", "y", training_mode=1)]

    assert "BatchNormalization" in ops(normalize(image_model(*nodes)).model)


def test_identities_and_dropouts_are_bypassed(models, normalize, image_model):
    nodes = [
        models.node("Identity", ["x"], ["i"]),
        models.node("Dropout", ["i"], ["d"]),
        models.node("Conv", ["d", "w"], ["c"]),
        models.node("Identity", ["c"], ["y"]),
    ]
    proto = image_model(*nodes)

    found = normalize(proto)

    assert ops(found.model) == ["Conv", "Identity"]
    assert np.array_equal(models.run(found.model, {"x": X})["y"], models.run(proto, {"x": X})["y"])


def conditional(name):
    """An If whose branches read the tensor `name` of the graph around them."""
    branches = [
        helper.make_graph([helper.make_node("Neg", [name], [f"{branch}_out"])], branch, [], [helper.make_tensor_value_info(f"{branch}_out", 1, None)])
        for branch in ("then", "else")
    ]
    return helper.make_node("If", ["condition"], ["y"], "if", then_branch=branches[0], else_branch=branches[1])


def test_what_a_nested_graph_reads_keeps_its_name(models, normalize, image_model):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Identity", ["c"], ["inner"]), conditional("inner")]
    proto = image_model(*nodes, weights={"condition": np.array(True)})

    found = normalize(proto)

    assert ops(found.model) == ["Conv", "Identity", "If"]
    assert np.array_equal(models.run(found.model, {"x": X})["y"], models.run(proto, {"x": X})["y"])


def test_constants_become_initializers_whatever_attribute_holds_them(models, normalize, image_model):
    nodes = [
        helper.make_node("Constant", [], ["low"], "low", value_float=-0.5),
        helper.make_node("Constant", [], ["high"], "high", value=numpy_helper.from_array(np.float32(0.5))),
        models.node("Conv", ["x", "w"], ["c"]),
        models.node("Clip", ["c", "low", "high"], ["y"]),
    ]
    proto = image_model(*nodes)

    found = normalize(proto)

    assert ops(found.model) == ["Conv", "Clip"]
    assert {"low", "high"} <= {tensor.name for tensor in found.model.graph.initializer}
    assert np.array_equal(models.run(found.model, {"x": X})["y"], models.run(proto, {"x": X})["y"])


def test_weights_that_are_only_transposed_are_constant(models, normalize):
    weight = RANDOM.normal(size=(5, 3)).astype(np.float32)
    nodes = [models.node("Transpose", ["w"], ["t"], perm=[1, 0]), models.node("MatMul", ["x", "t"], ["y"])]

    found = normalize(models.model(nodes, {"x": ["N", 3]}, {"y": None}, {"w": weight}))

    assert ops(found.model) == ["MatMul"]
    assert {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in found.model.graph.initializer} == {"t": weight.T.tolist()}


def test_every_node_has_a_name_of_its_own(models, normalize, image_model):
    nodes = [
        models.node("Conv", ["x", "w"], ["c"], "same"),
        models.node("Relu", ["c"], ["r"], "same"),
        helper.make_node("Neg", ["r"], ["y"]),
    ]

    names = [node.name for node in normalize(image_model(*nodes)).model.graph.node]

    assert len(set(names)) == 3
    assert all(names)


def test_half_precision_becomes_single(models, normalize):
    weight = RANDOM.normal(size=(3, 4)).astype(np.float16)
    proto = models.model([models.node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 4]}, {"w": weight}, dtype=TensorProto.FLOAT16)

    found = normalize(proto)

    x = np.float32([[1, 2, 3]])
    assert models.run(found.model, {"x": x})["y"] == pytest.approx(x @ weight.astype(np.float32), rel=1e-6)
    assert any("float16" in note for note in found.notes)


def test_an_old_opset_is_converted_and_said(models, normalize):
    nodes = [models.node("Conv", ["x", "w"], ["c"]), models.node("Clip", ["c"], ["y"], min=0.0, max=6.0)]
    proto = models.model(nodes, {"x": ["N", 3, 6, 6]}, {"y": None}, {"w": KERNEL}, opset=9)
    proto.ir_version = 4

    found = normalize(proto)

    assert found.model.opset_import[0].version == 17
    assert any("opset 9" in note for note in found.notes)
    assert np.array_equal(models.run(found.model, {"x": X})["y"], models.run(proto, {"x": X})["y"])


def test_weights_among_the_inputs_are_no_inputs(models, normalize, image_model):
    proto = image_model(models.node("Conv", ["x", "w"], ["y"]))
    proto.graph.input.append(helper.make_tensor_value_info("w", 1, [4, 3, 3, 3]))

    assert [value.name for value in normalize(proto).model.graph.input] == ["x"]


def test_shapes_are_inferred(models, normalize, image_model):
    found = normalize(image_model(models.node("Conv", ["x", "w"], ["c"]), models.node("Relu", ["c"], ["y"])))

    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]] for value in found.model.graph.value_info}
    assert shapes["c"] == [4, 4, 4]


def test_a_newer_opset_than_is_known_is_refused(models, normalize, image_model):
    proto = image_model(models.node("Conv", ["x", "w"], ["y"]))
    proto.opset_import[0].version = 99

    with pytest.raises(Rejected) as caught:
        normalize(proto)

    assert caught.value.code == "model-too-new"


def test_an_old_opset_that_cannot_be_converted_is_refused(models, normalize):
    proto = models.model([models.node("Frobnicate", ["x"], ["y"])], {"x": [1, 3, 6, 6]}, {"y": None}, opset=9)

    with pytest.raises(Rejected) as caught:
        normalize(proto)

    assert caught.value.code == "model-too-old"
    assert "\n" not in caught.value.message


def test_the_file_is_not_touched(models, tmp_path, image_model):
    path = models.save(image_model(models.node("Conv", ["x", "w"], ["c"]), norm(models, "c", "y")), tmp_path / "m.onnx")
    before = path.read_bytes()

    normalized_model(path)

    assert before == path.read_bytes()
    assert onnx.load(str(path)).graph.node[1].op_type == "BatchNormalization"


def with_external_weight(models, folder, rows, columns):
    """A product whose weights lie in a file beside it; the file is sparse, so that its size costs nothing."""
    proto = models.model([models.node("MatMul", ["x", "w"], ["y"])], {"x": ["N", rows]}, {"y": ["N", columns]}, {})
    tensor = proto.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[rows, columns], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    with (folder / "w.bin").open("wb") as file:
        file.truncate(rows * columns * 4)
    return models.save(proto, folder / "m.onnx")


def test_external_weights_are_read(models, tmp_path):
    model = normalized_model(with_external_weight(models, tmp_path, 64, 32)).model

    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).shape == (64, 32)


def test_more_weights_than_a_message_holds_are_refused_before_they_are_read(models, tmp_path):
    path = with_external_weight(models, tmp_path, 30_000, 20_000)

    with pytest.raises(Unfit) as caught:
        normalized_model(path)

    assert caught.value.code == "model-too-large"
    assert "2.4 GB" in caught.value.message
