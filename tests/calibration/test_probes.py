"""What the observed model gives back, against the tensors themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.probes import never_negative, probed

RANDOM = np.random.default_rng(8)


@pytest.fixture
def large(models, tmp_path):
    """A map of 16 × 40 × 40, before and after its Relu, and one of 16 × 10 × 10."""
    nodes = [
        models.node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        models.node("Relu", ["c"], ["r"]),
        models.node("MaxPool", ["r"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    weights = {"w": RANDOM.normal(size=(16, 3, 3, 3)).astype(np.float32)}
    proto = models.model(nodes, {"x": ["N", 3, 40, 40]}, {"p": ["N", 16, 10, 10]}, weights)
    return normalized_model(models.save(proto, tmp_path / "m.onnx")).model


def test_of_a_large_map_only_maxima_and_a_part_leave(models, large):
    found = probed(large, ("r", "c", "p", "x"))

    probe = {entry.tensor: entry for entry in found.probes}
    assert {name: (entry.values == name, entry.peak is None) for name, entry in probe.items()} == {
        "r": (False, False), "c": (True, True), "p": (True, True), "x": (True, True),
    }  # fmt: skip
    assert {value.name for value in found.model.graph.output} == {"p", "c", probe["r"].values, probe["r"].peak}


def test_the_maxima_and_the_part_are_those_of_the_map(models, large):
    found = probed(large, ("r",)).probes[0]
    model = probed(large, ("r",)).model
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", 1, None))

    values = models.run(model, {"x": RANDOM.normal(size=(2, 3, 40, 40)).astype(np.float32)})

    assert np.array_equal(values[found.peak][:, :, 0, 0], values["r"].max(axis=(2, 3)))
    # 25,600 values of a sample, of which about 4,096 are wanted: every second row and column.
    assert np.array_equal(values[found.values], values["r"][:, :, ::2, ::2])


def test_names_that_are_taken_are_not_used_again(large):
    large.graph.node[1].output[0] = "r//peak"
    large.graph.node[2].input[0] = "r//peak"
    model = onnx.shape_inference.infer_shapes(large)

    names = {name for probe in probed(model, ("r//peak",)).probes for name in (probe.values, probe.peak)}

    assert "r//peak" not in names


def test_signs_are_followed_through_the_graph(models):
    nodes = [
        models.node("Relu", ["x"], ["a"]), models.node("Sigmoid", ["x"], ["b"]), models.node("Add", ["a", "b"], ["c"]),
        models.node("Concat", ["c", "a"], ["d"], axis=1), models.node("MaxPool", ["d"], ["e"], kernel_shape=[1, 1]),
        models.node("Clip", ["x", "low"], ["f"]), models.node("Clip", ["x", "zero"], ["g"]), models.node("Add", ["a", "x"], ["h"]),
        models.node("Neg", ["a"], ["i"]), models.node("Concat", ["a", "x"], ["j"], axis=1),
    ]  # fmt: skip
    proto = models.model(nodes, {"x": ["N", 2, 4, 4]}, {"j": None}, {"low": np.float32(-1), "zero": np.float32(0)})

    assert never_negative(Graph(proto)) == {"a", "b", "c", "d", "e", "g"}
