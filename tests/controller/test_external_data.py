"""Held against onnx's own reader of the same files."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.controller.external_data import external_files
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper


def external(name: str, location: str, **more: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"offset": "0", "location": location, "length": "8", **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(name: str, nodes: list[Any], weights: list[TensorProto]) -> Any:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_graph(nodes, name, [], [output], weights)


def save(tmp_path: Path, *, functions: bool = False) -> Path:
    """A model with external data wherever a tensor may stand, and inline data beside it."""
    inline = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "inline")
    constant = helper.make_node("Constant", [], ["c"], value=external("c", "constant.bin"))
    branches = {name: graph(name, [helper.make_node("Identity", ["w"], ["y"])], [external("w", f"{name}.bin")]) for name in ("then", "else")}
    branch = helper.make_node("If", ["b"], ["y"], then_branch=branches["then"], else_branch=branches["else"])
    many = helper.make_node("Custom", ["c"], ["d"], domain="x", tensors=[external("t", "list.bin"), inline])
    outer = graph("outer", [constant, many, branch], [inline, external("w", "weights.bin"), external("v", "weights.bin", checksum="00")])
    outer.sparse_initializer.add(values=external("s", "sparse.bin"), indices=numpy_helper.from_array(np.array([0, 1]), "i"))
    model = helper.make_model(outer)
    if functions:
        body = helper.make_node("Constant", [], ["o"], value=external("f", "function.bin"))
        model.functions.append(helper.make_function("x", "F", [], ["o"], [body], [helper.make_opsetid("", 17)]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_every_place_of_a_model_is_looked_at(tmp_path: Path) -> None:
    assert external_files(save(tmp_path, functions=True)) == [
        "constant.bin",
        "else.bin",
        "function.bin",
        "list.bin",
        "sparse.bin",
        "then.bin",
        "weights.bin",
    ]


def test_onnxs_own_reader_finds_the_same_where_it_looks(tmp_path: Path) -> None:
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    path = save(tmp_path)
    tensors = _get_all_tensors(onnx.load(str(path), load_external_data=False))
    theirs = {entry.value for tensor in tensors if uses_external_data(tensor) for entry in tensor.external_data if entry.key == "location"}

    assert theirs <= set(external_files(path))
    assert set(external_files(path)) - theirs <= {"sparse.bin"}


def test_a_model_that_onnx_has_split_names_its_file(tmp_path: Path, tiny_classifier: Path) -> None:
    model = onnx.load(str(tiny_classifier))
    path = tmp_path / "split.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="split.data", size_threshold=0)

    assert external_files(path) == ["split.data"]
    assert external_files(tiny_classifier) == []


def test_data_that_stands_in_the_model_needs_no_file(tmp_path: Path) -> None:
    tensor = external("w", "not-used.bin")
    tensor.data_location = TensorProto.DEFAULT
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph("g", [], [tensor])).SerializeToString())

    assert external_files(path) == []


@pytest.mark.parametrize("content", [b"", b"text, not a model", b"\x00" * 100, b"\xff" * 100, b"\x3a\xff\xff\xff\xff\x0f", b"\x80" * 50, b"\x3b"])
def test_a_file_that_is_no_model_names_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert external_files(path) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_names_nothing(tmp_path: Path, share: float) -> None:
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    assert external_files(path) == []


def test_a_graph_that_is_nested_without_end_names_nothing(tmp_path: Path) -> None:
    data = b""
    for _ in range(2000):  # graph in attribute in node in graph …
        for field in (6, 5, 1):
            data = bytes([field << 3 | 2]) + varint(len(data)) + data
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + varint(len(data)) + data)

    assert external_files(path) == []


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(data)
    external_files(path)
    path.write_bytes(b"\x3a" + varint(len(data)) + data)
    external_files(path)


def test_weights_are_not_read(tmp_path: Path) -> None:
    """A model of 3 GiB, most of it a hole in the file, costs no memory."""
    skeleton = graph("g", [], [external("w", "weights.bin")]).SerializeToString()
    size = 3 << 30
    tensor = b"\x4a" + varint(size)  # raw_data = 9
    initializer = b"\x2a" + varint(len(tensor) + size) + tensor
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.write(b"\x3a" + varint(len(skeleton) + len(initializer) + size) + initializer)
        file.seek(size, 1)
        file.write(skeleton)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert external_files(path) == ["weights.bin"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def varint(number: int) -> bytes:
    data = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        data.append(low | (0x80 if number else 0))
        if not number:
            return bytes(data)
