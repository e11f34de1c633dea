"""Channels are padded so that weights fill whole groups of four codes."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.graph import Graph
from edgewright.calibration.rewrites.pad_channels import REWRITE


def convolution(qdq, channels, kernel=(3, 3), groups=1, kind=np.uint8):
    made = qdq([1, channels, 9, 9])
    out = made.conv(made.pair("x", "x", kind=kind), (8, channels // groups, *kernel), "c", group=groups)
    return made.model(made.pair(out, "y", scale=0.3, kind=kind))


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(("channels", "padded"), [(3, 4), (6, 8), (7, 8)])
def test_the_padded_convolution_makes_the_same_numbers(qdq, output_of, channels, padded, kind):
    model = convolution(qdq, channels, kind=kind)

    made = REWRITE.apply(model)

    conv = next(node for node in made.graph.node if node.op_type == "Conv")
    graph = Graph(made)
    assert padded == graph.constant(graph.producers[conv.input[1]].input[0]).shape[1]
    assert np.array_equal(output_of(model), output_of(made))


def test_the_given_model_is_left_as_it_is(qdq):
    model = convolution(qdq, 3)
    before = model.SerializeToString()

    REWRITE.apply(model)

    assert before == model.SerializeToString()


@pytest.mark.parametrize(
    ("channels", "kernel", "groups"),
    [(4, (3, 3), 1), (3, (2, 2), 1), (6, (3, 3), 6), (1, (3, 3), 1)],
    ids=["whole groups", "four taps", "depthwise", "would grow four times"],
)
def test_what_gains_nothing_is_left_alone(qdq, channels, kernel, groups):
    made = qdq([1, channels, 9, 9])
    out = made.conv(made.pair("x", "x"), (groups * 4 if groups > 1 else 8, channels // groups, *kernel), "c", group=groups)

    assert REWRITE.apply(made.model(made.pair(out, "y"))) is None


def test_a_float_model_is_left_alone(models):
    assert REWRITE.apply(models.wide_classifier()) is None
