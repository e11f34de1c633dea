"""What every rewrite owes: the same numbers, the same inputs and outputs, and the given model left alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.rewriting import load_rewrite, rewrite_names, rewritten


@pytest.fixture
def coded(qdq):
    """Three colours, a padded shortcut and a residual sum, all in codes."""
    made = qdq([1, 3, 10, 10])
    stem = made.pair(made.node("Relu", [made.conv(made.pair("x", "x"), (8, 3, 3, 3), "stem")], "relu"), "stem")
    pads = made.constant(np.array([0, 4, 0, 0, 0, 4, 0, 0], np.int64), "pads")
    wide = made.pair(made.node("Pad", [stem, pads], "padded"), "wide")
    wide = made.pair(wide, "same")
    main = made.pair(made.conv(stem, (16, 8, 3, 3), "main", pads=[1, 1, 1, 1]), "main", scale=0.1)
    return made.model(made.pair(made.node("Add", [wide, main], "sum"), "y", scale=0.1))


@pytest.mark.parametrize("name", rewrite_names())
def test_a_rewrite_is_exact_and_changes_nothing_outside(name, coded, output_of):
    before = coded.SerializeToString(deterministic=True)

    made = load_rewrite(name).apply(coded)

    assert coded.SerializeToString(deterministic=True) == before
    assert made is not None
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(made), full_check=False)
    assert [value.SerializeToString() for value in made.graph.input] == [value.SerializeToString() for value in coded.graph.input]
    assert [value.name for value in made.graph.output] == [value.name for value in coded.graph.output]
    assert np.array_equal(output_of(coded), output_of(made))
    used = {name for node in made.graph.node for name in node.input}
    assert all(tensor.name in used for tensor in made.graph.initializer)


@pytest.mark.parametrize("name", rewrite_names())
def test_a_second_time_finds_nothing(name, coded):
    rewrite = load_rewrite(name)

    assert rewrite.apply(rewrite.apply(coded)) is None


def test_all_of_them_together_are_exact(coded, output_of):
    assert np.array_equal(output_of(coded), output_of(rewritten(coded)))
