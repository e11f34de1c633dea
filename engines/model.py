"""Reads and copies ONNX files, with errors that say what is wrong with the file."""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path
from typing import Any

from ..core.digest import digest_of_bytes, digest_of_file
from ..core.errors import Rejected
from ..core.tensors import TensorSpec

MAX_MODEL_BYTES = 2 << 30
_SEND_ANOTHER = "Export the model again and send that file"


def read_model(path: Path, *, with_weights: bool = True) -> Any:
    """Parse `path` to an ``onnx.ModelProto``; external data is loaded from beside it when `with_weights`.

    Raises:
        Rejected: ``model-missing``, ``model-unreadable`` or ``model-too-large``.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise Rejected("model-missing", f"there is no model at {path}", "Give the path of an .onnx file")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise Rejected("model-unreadable", f"{path.name} is empty", _SEND_ANOTHER)
    if size_bytes > MAX_MODEL_BYTES:
        raise Rejected("model-too-large", f"{path.name} is larger than 2 GiB, which protobuf cannot hold", "Save its weights as external data")
    try:
        model = onnx.load_model(str(path), load_external_data=with_weights)
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        raise Rejected("model-unreadable", f"{path.name} is not a readable ONNX model: {first_line(error)}", _SEND_ANOTHER) from error
    if not model.graph.node or not model.graph.output:
        raise Rejected("model-unreadable", f"{path.name} holds no graph: it is truncated, or not ONNX", _SEND_ANOTHER)
    return model


def input_specs(model: Any) -> tuple[TensorSpec, ...]:
    """The inputs that must be fed: initializers that old exporters also list as inputs are left out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(_spec(value) for value in model.graph.input if value.name not in weights)


def output_specs(model: Any) -> tuple[TensorSpec, ...]:
    return tuple(_spec(value) for value in model.graph.output)


def _spec(value: Any) -> TensorSpec:
    import onnx

    if value.type.WhichOneof("value") != "tensor_type":
        raise Rejected("model-unreadable", f"{value.name!r} is not a tensor", "Export the model with tensor inputs and outputs")
    tensor = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError as error:
        raise Rejected("model-unreadable", f"{value.name!r} has no known element type", _SEND_ANOTHER) from error
    shape = tuple(axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in tensor.shape.dim)
    return TensorSpec(value.name, dtype, shape)


def is_quantized(model: Any) -> bool:
    """Whether the model says its own quantisation: then a calibrator must not."""
    return any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node)


def is_half(model: Any) -> bool:
    """Whether something in the model is computed in half precision by its own types."""
    from onnx import TensorProto

    graph = model.graph
    tensors = [
        *(value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)),
        *(weight.data_type for weight in graph.initializer),
    ]
    return TensorProto.FLOAT16 in tensors


def copy_model(path: Path, model: Any, target: Path) -> None:
    """Copy the file `path`, which was read as `model`, to `target`, and the files of its weights beside it.

    Raises:
        Rejected: ``model-unreadable`` when one is missing, or lies elsewhere.
    """
    shutil.copyfile(path, target)
    for name in sorted(_external_files(model)):
        source = path.parent / name
        if not source.is_file():
            raise Rejected("model-unreadable", f"{path.name} needs {name}, which is not beside it", "Send its external data too")
        shutil.copyfile(source, target.parent / name)


def digest_of_model(path: Path) -> str:
    """The digest of the model at `path`: of the file alone, or of it and the files of its weights beside it.

    Raises:
        Rejected: ``model-unreadable`` when what it names as its weights' files cannot be their names.
    """
    own = digest_of_file(path)
    if not _may_have_files(path):
        return own
    files = [path.parent / name for name in sorted(_external_files(read_model(path, with_weights=False)))]
    # One that is missing is the build's to refuse.
    parts = [f"{file.name}:{digest_of_file(file) if file.is_file() else ''}" for file in files]
    return digest_of_bytes("\n".join([own, *parts]).encode()) if parts else own


def _may_have_files(path: Path) -> bool:
    """Every external tensor has an entry of this key, and most models have the word nowhere: they need not be parsed to know."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"location") >= 0


def _external_files(model: Any) -> set[str]:
    names = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            raise Rejected("model-unreadable", f"the external data {name!r} is not a plain file name", "Save the model's data beside it")
    return names


def first_line(error: BaseException) -> str:
    """The first line of what a library says, which may be many or none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
