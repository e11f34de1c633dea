"""From an ONNX file to a network definition, or to the parser's own reasons why not."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.collection import collection_paused
from ...core.errors import Rejected
from ...core.tensors import TensorSpec
from ..model import read_model
from .binding import Binding
from .errors import ParserComplaint, device_error, parser_error


@dataclass(frozen=True, slots=True)
class Network:
    """A parsed network. The parser owns weights that the network uses: it must live as long."""

    builder: Any
    network: Any
    parser: Any
    logger: Any
    inputs: tuple[TensorSpec, ...]
    is_typed: bool


@collection_paused()
def new_builder(binding: Binding, logger: Any) -> Any:
    """A builder.

    Raises:
        Unfit: ``backend-unavailable``: the bindings say it by a TypeError when CUDA does not start.
    """
    try:
        return binding.trt.Builder(logger)
    except (TypeError, RuntimeError) as error:
        raise device_error(error) from error


@collection_paused()
def parse_model(binding: Binding, model: Path, logger: Any, *, is_typed: bool) -> Network:
    """Parse `model`, strongly typed or not: see `precision`.

    Raises:
        Rejected: ``model-unreadable``, or ``operator-unsupported`` naming node, operator and why.
        Unfit: ``backend-unavailable``.
    """
    builder = new_builder(binding, logger)
    network = builder.create_network(creation_flags(binding, is_typed=is_typed))
    parser = binding.trt.OnnxParser(network, logger)
    # From the file, so that external data is found beside it and the bytes are not held twice.
    if not parser.parse_from_file(str(model)):
        raise parser_error(model.name, parser_complaints(parser, model), logger.kept)
    return Network(builder, network, parser, logger, network_inputs(binding, network), is_typed)


def creation_flags(binding: Binding, *, is_typed: bool) -> int:
    """Explicit batch where it is not yet the rule (8.6; 10 ignores it)."""
    creation = binding.trt.NetworkDefinitionCreationFlag
    flags = 1 << int(creation.EXPLICIT_BATCH) if binding.has_explicit_batch_flag else 0
    return flags | 1 << int(creation.STRONGLY_TYPED) if is_typed else flags


def parser_complaints(parser: Any, model: Path) -> list[ParserComplaint]:
    """What the parser has against `model`. 8.6 tells neither a node's name nor its operator: they are read from the file."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes: list[Any] = []
    if any(not hasattr(error, "node_operator") for error in errors):
        with contextlib.suppress(Rejected):
            nodes = list(read_model(model, with_weights=False).graph.node)
    return [_complaint(error, nodes) for error in errors]


def _complaint(error: Any, nodes: list[Any]) -> ParserComplaint:
    index = int(error.node())
    if hasattr(error, "node_operator"):
        name, operator = str(error.node_name()), str(error.node_operator())
    else:
        name, operator = (nodes[index].name, nodes[index].op_type) if 0 <= index < len(nodes) else ("", "")
    code = str(error.code()).rpartition(".")[2].partition(":")[0].strip()
    return ParserComplaint(index, name, operator, " ".join(str(error.desc()).split()), code)


def network_inputs(binding: Binding, network: Any) -> tuple[TensorSpec, ...]:
    """The network's inputs; −1 is a free axis."""
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    return tuple(
        TensorSpec(
            str(tensor.name),
            dtype_name(binding, tensor.dtype),
            tuple(int(axis) if int(axis) >= 0 else None for axis in tensor.shape),
        )
        for tensor in tensors
    )


def dtype_name(binding: Binding, dtype: Any) -> str:
    """numpy's name of a TensorRT type; types that numpy lacks keep TensorRT's name."""
    names = {
        "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool", "UINT8": "uint8",
        "BF16": "bfloat16",
    }  # fmt: skip
    found = {getattr(binding.trt.DataType, name): plain for name, plain in names.items() if hasattr(binding.trt.DataType, name)}
    return found.get(dtype, str(dtype).rpartition(".")[2].lower())
