"""Padding between equal codings moves codes."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.rewrites.stay_in_codes import REWRITE

PADS = np.array([0, 2, 0, 0, 0, 2, 0, 0], np.int64)


def padded(qdq, *, scale_after=0.02, value=None, mode="constant"):
    made = qdq([1, 4, 6, 6])
    inputs = [made.pair("x", "x"), made.constant(PADS, "pads")]
    if value is not None:
        inputs.append(made.constant(np.float32(value), "value"))
    pad = made.node("Pad", inputs, "padded", mode=mode)
    return made.model(made.pair(made.conv(made.pair(pad, "p", scale=scale_after), (8, 8, 1, 1), "c"), "y", scale=0.3))


@pytest.mark.parametrize("value", [None, 0.0])
def test_codes_are_padded_instead_of_numbers(qdq, output_of, value):
    model = padded(qdq, value=value)

    made = REWRITE.apply(model)

    kinds = [node.op_type for node in made.graph.node]
    assert kinds.index("Pad") == kinds.index("QuantizeLinear") + 1
    assert kinds.count("QuantizeLinear") == 2
    assert np.array_equal(output_of(model), output_of(made))


@pytest.mark.parametrize(
    "changes",
    [{"scale_after": 0.03}, {"value": 1.0}, {"mode": "edge"}],
    ids=["another scale", "not zero", "not constant"],
)
def test_what_would_change_numbers_is_left_alone(qdq, changes):
    assert REWRITE.apply(padded(qdq, **changes)) is None


def test_a_float_model_is_left_alone(models):
    assert REWRITE.apply(models.wide_classifier()) is None
