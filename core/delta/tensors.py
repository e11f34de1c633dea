"""Where the weights lie in the bytes of an ONNX file, without the library: enough of the protobuf wire format to find them. Pure.

What cannot be read has no weights: a delta of it is made of pieces alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 2, 8, 9
# TensorProto.DataType (onnx.proto): FLOAT, FLOAT16, DOUBLE, BFLOAT16.
_WIDTHS = {1: 4, 10: 2, 11: 8, 16: 2}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Weights:
    """One float tensor's bytes: from `start` to `end`, `width` bytes per number."""

    name: str
    start: int
    end: int
    width: int


def find_weights(data: bytes | memoryview) -> list[Weights]:
    """The float tensors of an ONNX model that are stored as raw bytes, in their order; empty for anything else."""
    view = memoryview(data)
    found: list[Weights] = []
    try:
        for number, start, end in _fields(view, 0, len(view)):
            if number == _MODEL_GRAPH:
                for inner, first, last in _fields(view, start, end):
                    if inner == _GRAPH_INITIALIZER:
                        found += _weights(view, first, last)
    except ValueError:
        return []
    return found


def _weights(view: memoryview, start: int, end: int) -> Iterator[Weights]:
    kind, name, raw = 0, "", (0, 0)
    for number, first, last in _fields(view, start, end):
        if number == _TENSOR_TYPE:
            kind = _varint(view, first, last)[0]
        elif number == _TENSOR_NAME:
            name = bytes(view[first:last]).decode("utf-8", "replace")
        elif number == _TENSOR_RAW:
            raw = (first, last)
    width = _WIDTHS.get(kind, 0)
    if width and raw[1] > raw[0] and (raw[1] - raw[0]) % width == 0:
        yield Weights(name, *raw, width)


def _fields(view: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, and the bounds of its content, of each field of a message.

    Raises:
        ValueError: this is no protobuf message.
    """
    while position < end:
        key, position = _varint(view, position, end)
        kind = key & 7
        if kind == _BYTES:
            size, position = _varint(view, position, end)
            after = position + size
        elif kind == _VARINT:
            after = _varint(view, position, end)[1]
        elif kind in {_FIXED64, _FIXED32}:
            after = position + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError("a field of a kind that is not used")
        if after > end:
            raise ValueError("a field that is longer than its message")
        yield key >> 3, position, after
        position = after


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """The number, and where it ends."""
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if position >= end:
            break
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << 7 * shift
        if not byte & 0x80:
            return value, position
    raise ValueError("a number without an end")
