"""The file ``.ewz``: an ONNX model, coded. What comes out of it is the model that went in: every tensor bit for bit, every other byte too.

    magic (8 bytes) · length of the body · SHA-256 of the ONNX bytes · body (MessagePack): the graph without its large tensors, and each of them coded

Rules: sizes are bounded before anything is allocated; a file that does not decode to its digest is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ...core.errors import Rejected, Unfit
from ...core.files import write_atomic
from ...engines.model import MAX_MODEL_BYTES, read_model
from .tensors import Coded, Count, code, decode, pack, unpack

MAGIC = b"EWZ\x00\x01\r\n\x1a"
SUFFIX = ".ewz"
# What is smaller stays in the graph, which is compressed as a whole.
_MIN_ELEMENTS = 64
_MAX_RATIO = 2000
_FIX = "Send the model again; pack it with edgewright compress or edgewright fleet deploy --codec ewz"


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`graph` is the compressed ONNX without the `tensors`, which are in the order of its initializers; `size` its length."""

    graph: bytes
    size: Count
    tensors: dict[int, Coded]


def encode_model(model: Any) -> bytes:
    """The coded file of `model` (an ``onnx.ModelProto`` with its weights inside)."""
    whole = serialized(model)
    skeleton = onnx.ModelProto.FromString(whole)
    coded: dict[int, Coded] = {}
    for index, tensor in enumerate(skeleton.graph.initializer):
        value = _codable(tensor)
        if value is not None:
            coded[index] = code(value)
            tensor.ClearField("raw_data")
    graph = serialized(skeleton)
    body = msgspec.msgpack.encode(Body(pack(graph), len(graph), coded))
    return MAGIC + len(body).to_bytes(8, "little") + hashlib.sha256(whole).digest() + body


def decode_model(data: bytes) -> Any:
    """The model in a coded file.

    Raises:
        Rejected: ``codec-malformed``.
    """
    body = _body(data)
    try:
        if body.size > min(MAX_MODEL_BYTES, _MAX_RATIO * max(len(data), 1)):
            raise ValueError("its graph is out of proportion")
        model = onnx.ModelProto.FromString(unpack(body.graph, body.size))
        total = 0
        for index, entry in body.tensors.items():
            tensor = model.graph.initializer[index]
            total += entry.size * np.dtype(entry.dtype).itemsize
            if total > MAX_MODEL_BYTES:
                raise ValueError("its tensors are larger than any model may be")
            tensor.raw_data = decode(entry).astype(np.dtype(entry.dtype), copy=False).tobytes()
    except (ValueError, IndexError, TypeError, DecodeError) as error:
        raise _malformed(str(error) or type(error).__name__) from error
    if hashlib.sha256(serialized(model)).digest() != data[16:48]:
        raise _malformed("it does not decode to its digest")
    return model


def write_coded(model: Path, target: Path) -> int:
    """Code the ONNX file `model` into `target`; returns the size of what was written.

    Raises:
        Rejected: ``model-missing`` or ``model-unreadable``.
    """
    data = encode_model(read_model(model))
    write_atomic(target, data)
    return len(data)


def write_decoded(coded: Path, target: Path) -> None:
    """Decode the file `coded` to the runnable ONNX file `target`.

    Raises:
        Rejected: ``codec-malformed`` or ``model-missing``.
    """
    if not coded.is_file():
        raise Rejected("model-missing", f"there is no coded model at {coded}", "Give the path of an .ewz file")
    if coded.stat().st_size > MAX_MODEL_BYTES:
        raise _malformed("it is larger than any model may be")
    write_atomic(target, serialized(decode_model(coded.read_bytes())))


def serialized(model: Any) -> bytes:
    """The ONNX bytes of `model`, always the same for equal models.

    Raises:
        Unfit: ``model-too-large`` above 2 GB.
    """
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:
        raise Unfit("model-too-large", f"the model is too large for one file: {error}", "Models above 2 GB cannot be coded") from error


def _codable(tensor: Any) -> Any | None:
    """The elements of a tensor that is kept as raw bytes and is large enough to be coded on its own; None for others."""
    if not tensor.HasField("raw_data") or not len(tensor.raw_data):
        return None
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None
    is_plain = value.dtype.kind in "fiu" and value.dtype.isnative and value.size * value.dtype.itemsize == len(tensor.raw_data)
    return value if value.size >= _MIN_ELEMENTS and is_plain else None


def _body(data: bytes) -> Body:
    if data[: len(MAGIC)] != MAGIC or len(data) < 48 or len(data) != 48 + int.from_bytes(data[8:16], "little"):
        raise _malformed("it is not a coded model, or cut off")
    try:
        return msgspec.msgpack.decode(memoryview(data)[48:], type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error


def _malformed(why: str) -> Rejected:
    return Rejected("codec-malformed", f"the coded model cannot be read: {why}", _FIX)
