"""Which channels one factor moves: classes, and what keeps the factor 1."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.channels import channel_map
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model

RANDOM = np.random.default_rng(5)


@pytest.fixture
def channels(models, tmp_path):
    def of(nodes, weights, *, outputs=("y",), channels=2):
        proto = models.model(nodes, {"x": ["N", channels, 4, 4]}, dict.fromkeys(outputs), weights)
        return channel_map(Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model))

    return of


def kernel(out, into, size=1):
    return RANDOM.normal(size=(out, into, size, size)).astype(np.float32)


def free(found, name):
    """How many channels of a tensor may be scaled."""
    return int((~found.fixed[found.classes[name]]).sum())


def test_inputs_and_outputs_keep_their_scale_and_what_lies_between_is_free(models, channels):
    nodes = [models.node("Conv", ["x", "w"], ["a"]), models.node("Relu", ["a"], ["b"]), models.node("Conv", ["b", "v"], ["y"])]

    found = channels(nodes, {"w": kernel(3, 2), "v": kernel(4, 3)})

    assert [free(found, name) for name in ("x", "a", "b", "y")] == [0, 3, 3, 0]
    assert np.array_equal(found.classes["a"], found.classes["b"])


def test_an_addition_joins_the_channels_of_its_operands(models, channels):
    nodes = [
        models.node("Conv", ["x", "w"], ["a"]), models.node("Conv", ["x", "v"], ["b"]), models.node("Add", ["a", "b"], ["c"]),
        models.node("Conv", ["c", "u"], ["y"]),
    ]  # fmt: skip

    found = channels(nodes, {"w": kernel(3, 2), "v": kernel(3, 2), "u": kernel(2, 3)})

    assert np.array_equal(found.classes["a"], found.classes["b"])
    assert len(set(found.classes["c"].tolist())) == 3


def test_a_concatenation_keeps_channels_apart(models, channels):
    nodes = [
        models.node("Conv", ["x", "w"], ["a"]), models.node("Conv", ["x", "v"], ["b"]), models.node("Concat", ["a", "b"], ["c"], axis=1),
        models.node("Conv", ["c", "u"], ["y"]),
    ]  # fmt: skip

    found = channels(nodes, {"w": kernel(3, 2), "v": kernel(2, 2), "u": kernel(2, 5)})

    assert found.classes["c"].tolist() == [*found.classes["a"], *found.classes["b"]]
    assert free(found, "c") == 5


def test_a_depthwise_convolution_separates_what_goes_in_from_what_comes_out(models, channels):
    nodes = [
        models.node("Conv", ["x", "w"], ["a"]), models.node("Conv", ["a", "d"], ["b"], group=3), models.node("Conv", ["b", "u"], ["y"]),
    ]  # fmt: skip

    found = channels(nodes, {"w": kernel(3, 2), "d": kernel(3, 1), "u": kernel(2, 3)})

    assert not set(found.classes["a"].tolist()) & set(found.classes["b"].tolist())
    assert free(found, "b") == 3


BARRIERS = {
    "a sigmoid": lambda models: [models.node("Sigmoid", ["a"], ["b"])],
    "grouped": lambda models: [models.node("Conv", ["a", "g"], ["b"], group=2)],
    "a mean over channels": lambda models: [models.node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1), models.node("Sub", ["a", "m"], ["b"])],
}


@pytest.mark.parametrize("barrier", list(BARRIERS))
def test_no_factor_passes(models, channels, barrier):
    nodes = [models.node("Conv", ["x", "w"], ["a"]), *BARRIERS[barrier](models), models.node("Conv", ["b", "u"], ["y"])]

    found = channels(nodes, {"w": kernel(4, 2), "g": kernel(4, 2), "u": kernel(2, 4)})

    assert free(found, "a") == 0


def test_weights_that_two_layers_share_take_no_factor(models, channels):
    nodes = [models.node("Conv", ["x", "w"], ["a"]), models.node("Conv", ["a", "w"], ["b"]), models.node("Conv", ["b", "u"], ["y"])]

    found = channels(nodes, {"w": kernel(2, 2), "u": kernel(2, 2)})

    assert [free(found, name) for name in ("a", "b")] == [0, 0]


def test_a_tensor_that_is_an_output_too_keeps_its_scale(models, channels):
    nodes = [models.node("Conv", ["x", "w"], ["a"]), models.node("Conv", ["a", "u"], ["y"])]

    assert free(channels(nodes, {"w": kernel(3, 2), "u": kernel(2, 3)}, outputs=("y", "a")), "a") == 0
