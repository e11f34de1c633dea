"""The weights are found where the ONNX library says that they are, and in other bytes none are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from edgewright.core.delta.tensors import find_weights
from hypothesis import given
from hypothesis import strategies as st


def test_they_are_found_where_they_lie(save_model: Any, weights: list[Any]) -> None:
    data = Path(save_model("model", weights)).read_bytes()
    found = find_weights(data)
    expected = onnx.load_model_from_string(data).graph.initializer

    assert [(entry.name, data[entry.start : entry.end], entry.width) for entry in found] == [(item.name, item.raw_data, 4) for item in expected]


def test_integers_are_no_weights(save_model: Any, weights: list[Any]) -> None:
    data = Path(save_model("model", [weights[0].astype("int32")])).read_bytes()

    assert find_weights(data) == []


@given(st.binary(max_size=300))
def test_other_bytes_have_none_or_some_within_their_bounds(data: bytes) -> None:
    assert all(0 <= entry.start < entry.end <= len(data) for entry in find_weights(data))


@given(st.integers(0, 400), st.binary(max_size=8))
def test_a_damaged_model_ends_no_reader(place: int, junk: bytes) -> None:
    tensor = onnx.numpy_helper.from_array(__import__("numpy").ones(50, "float32"), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    data = bytearray(onnx.helper.make_model(graph).SerializeToString())
    data[place : place + len(junk)] = junk

    assert all(entry.end <= len(data) for entry in find_weights(bytes(data)))
