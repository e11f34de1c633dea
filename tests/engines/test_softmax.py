from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.engines.softmax import SoftmaxAxes, final_softmax, write_logits_model

X = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], np.float32)


def chain(models, *nodes, opset=17, outputs=None, weights=None):
    return models.model(list(nodes), {"x": ["N", 3]}, outputs or {"y": None}, weights, opset=opset)


def test_no_softmax_no_logits_model(models, tmp_path):
    path = models.save(chain(models, models.node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")

    assert final_softmax(onnx.load(str(path))) == {}
    assert write_logits_model(path, tmp_path / "logits.onnx") is None
    assert not (tmp_path / "logits.onnx").exists()


def test_a_softmax_in_the_middle_is_not_final(models):
    proto = chain(models, models.node("Softmax", ["x"], ["s"]), models.node("Exp", ["s"], ["y"]))

    assert final_softmax(proto) == {}


@pytest.mark.parametrize(
    ("opset", "attributes", "axes"),
    [
        (17, {}, SoftmaxAxes(-1, through_last=False)),
        (17, {"axis": 1}, SoftmaxAxes(1, through_last=False)),
        (9, {}, SoftmaxAxes(1, through_last=True)),
        (9, {"axis": 0}, SoftmaxAxes(0, through_last=True)),
        (12, {}, SoftmaxAxes(1, through_last=True)),
        (13, {}, SoftmaxAxes(-1, through_last=False)),
    ],
)
def test_the_axis_follows_the_opset(models, opset, attributes, axes):
    assert final_softmax(chain(models, models.node("Softmax", ["x"], ["y"], **attributes), opset=opset)) == {"y": axes}


def test_axes_of_an_output():
    assert SoftmaxAxes(-1, through_last=False).of(3) == (2,)
    assert SoftmaxAxes(1, through_last=True).of(4) == (1, 2, 3)


def test_the_logits_model_gives_what_goes_into_the_softmax(models, tmp_path):
    nodes = [models.node("Neg", ["x"], ["n"]), models.node("Softmax", ["n"], ["y"])]
    path = models.save(chain(models, *nodes), tmp_path / "m.onnx")

    logits = onnx.load(str(write_logits_model(path, tmp_path / "logits.onnx")))

    assert np.array_equal(models.run(logits, {"x": X})["y"], -X)


def test_what_an_opset_converter_wraps_around_a_softmax_is_looked_through(models, tmp_path):
    nodes = [
        models.node("Flatten", ["x"], ["f"]),
        models.node("Softmax", ["f"], ["s"]),
        models.node("Reshape", ["s", "shape"], ["y"]),
    ]
    path = models.save(chain(models, *nodes, weights={"shape": np.array([0, 3, 1, 1], np.int64)}), tmp_path / "m.onnx")

    logits = onnx.load(str(write_logits_model(path, tmp_path / "logits.onnx")))

    assert np.array_equal(models.run(logits, {"x": X})["y"], X.reshape(2, 3, 1, 1))
    assert final_softmax(onnx.load(str(path))) == {"y": SoftmaxAxes(1, through_last=True)}


def test_what_reads_the_probabilities_inside_still_does(models, tmp_path):
    nodes = [models.node("Softmax", ["x"], ["y"]), models.node("ReduceMax", ["y"], ["best"], axes=[1], keepdims=0)]
    path = models.save(chain(models, *nodes, outputs={"y": None, "best": None}), tmp_path / "m.onnx")

    outputs = models.run(onnx.load(str(write_logits_model(path, tmp_path / "logits.onnx"))), {"x": X})

    assert np.array_equal(outputs["y"], X)
    powers = np.exp(X)
    assert outputs["best"] == pytest.approx((powers / powers.sum(1, keepdims=True)).max(1), rel=1e-5)


def test_two_outputs_of_one_softmax_both_become_logits(models, tmp_path):
    nodes = [models.node("Softmax", ["x"], ["y"]), models.node("Identity", ["y"], ["z"])]
    path = models.save(chain(models, *nodes, outputs={"y": None, "z": None}), tmp_path / "m.onnx")

    outputs = models.run(onnx.load(str(write_logits_model(path, tmp_path / "logits.onnx"))), {"x": X})

    assert np.array_equal(outputs["y"], X)
    assert np.array_equal(outputs["z"], X)


def test_a_cast_after_the_softmax_keeps_the_outputs_type(models, tmp_path):
    half = onnx.TensorProto.FLOAT16
    nodes = [
        models.node("Cast", ["x"], ["h"], to=half),
        models.node("Softmax", ["h"], ["s"]),
        models.node("Cast", ["s"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    path = models.save(chain(models, *nodes), tmp_path / "m.onnx")

    logits = models.run(onnx.load(str(write_logits_model(path, tmp_path / "logits.onnx"))), {"x": X})["y"]

    assert logits.dtype == np.float32
    assert np.array_equal(logits, X)
