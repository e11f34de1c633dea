"""Which files beside a model hold its weights. Reads the model's skeleton from the disk, never its weights, at any size.

An ONNX file is a protocol buffer (onnx.proto; https://protobuf.dev/programming-guides/encoding/): fields of a number, a wire type and content.
Only the fields that lead to tensors are entered, and of a tensor only where its data is. A file that is no model names nothing: the device
says what is wrong with it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

MAX_DEPTH = 100  # what protocol buffers' own readers allow
MAX_NAMES = 10_000
_EXTERNAL = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Message → field number → message. Tensors and their entries are read below.
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def external_files(model: Path) -> list[str]:
    """The names that the model uses for its external data, as they stand in it, sorted; at most `MAX_NAMES`."""
    if model.stat().st_size == 0:
        return []
    names: set[str] = set()
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
        try:
            for name in _names(view, "model", 0):
                names.add(name)
                if len(names) >= MAX_NAMES:
                    break
        except (IndexError, UnicodeDecodeError, RecursionError):
            return []
    return sorted(names)


def _names(data: memoryview, message: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise RecursionError
    if message == "tensor":
        yield from _location(data)
        return
    paths = _PATHS[message]
    for number, _, content in _fields(data):
        if content is not None and number in paths:
            yield from _names(content, paths[number], depth + 1)


def _location(tensor: memoryview) -> Iterator[str]:
    """TensorProto: external_data = 13 (key = 1, value = 2), data_location = 14."""
    name, is_external = None, False
    for number, value, content in _fields(tensor):
        if number == 14:
            is_external = value == _EXTERNAL
        elif number == 13 and content is not None:
            entry = {field: bytes(text) for field, _, text in _fields(content) if text is not None}
            if entry.get(1) == b"location":
                name = entry.get(2, b"").decode()
    if is_external and name is not None:
        yield name


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview | None]]:
    """Number, value and content of each field; the content is None unless it has a length.

    Raises:
        IndexError: these bytes are no protocol buffer.
    """
    position, size = 0, len(data)
    while position < size:
        key, position = _varint(data, position)
        kind, value, content = key & 7, 0, None
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            content = data[position : position + length]
            position += length
        elif kind in {_FIXED64, _FIXED32}:
            position += 8 if kind == _FIXED64 else 4
        else:
            raise IndexError
        if position > size:
            raise IndexError
        yield key >> 3, value, content


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise IndexError
