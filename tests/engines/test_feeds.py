from __future__ import annotations

import numpy as np
from edgewright.core.tensors import TensorSpec
from edgewright.engines.feeds import cast_feeds, filled_feeds, first_samples, fixed_batch


def test_feeds_take_the_type_of_their_input():
    feeds = {"a": np.array([1.5], np.float16), "unused": np.zeros(1)}

    cast = cast_feeds(feeds, (TensorSpec("a", "float32", (None,)),))

    assert list(cast) == ["a"]
    assert cast["a"].dtype == np.float32
    assert cast["a"].tolist() == [1.5]


def test_the_last_sample_fills_a_batch_up():
    filled = filled_feeds({"a": np.array([[1, 2], [3, 4]])}, 4)

    assert filled["a"].tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]


def test_a_full_batch_stays():
    feeds = {"a": np.arange(4)}

    assert filled_feeds(feeds, 4) is feeds


def test_what_filled_a_batch_up_is_taken_away_again():
    outputs = {"rows": np.arange(8).reshape(4, 2), "constant": np.arange(3), "number": np.float32(7)}

    taken = first_samples(outputs, 2, 4)

    assert taken["rows"].tolist() == [[0, 1], [2, 3]]
    assert taken["constant"].tolist() == [0, 1, 2]
    assert taken["number"] == 7


def test_the_first_prescribed_axis_is_the_batch():
    free, fixed = TensorSpec("a", "float32", (None, 3)), TensorSpec("b", "float32", (8, 3))

    assert fixed_batch((free,)) is None
    assert fixed_batch((free, fixed)) == 8
    assert fixed_batch((TensorSpec("scalar", "float32", ()),)) is None
