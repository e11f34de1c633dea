"""Brings any ONNX model into the one form that the rest of this layer works on.

After `normalized_model`:
- float32 throughout, opset 13 … 23, no weights among the inputs;
- constants are initializers, reshaped and transposed ones too;
- Identity and Dropout are gone, batch norms are folded into the convolution before them;
- every node has a name of its own;
- shapes are inferred.

The graph's inputs and outputs keep their names and shapes; float16 ones become float32, which is said in the notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ..core.errors import Rejected, Unfit
from ..engines.model import first_line, read_model
from .graph import captured_names
from .heads import with_matrix_heads

MIN_OPSET = 13
TARGET_OPSET = 17
MAX_OPSET = 23
MAX_WEIGHT_BYTES = (2 << 30) - (16 << 20)
_SHAPES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True, slots=True)
class Normalized:
    """The model, and what had to be changed that its owner should know."""

    model: Any
    notes: tuple[str, ...]


def normalized_model(path: Path) -> Normalized:
    """Read and normalise the model at `path`.

    Raises:
        Rejected: ``model-unreadable``, or ``model-too-old`` when ONNX cannot convert its opset.
        Unfit: ``model-too-large`` when its weights, external ones included, are more than protobuf holds in one message.
    """
    _check_size(path)
    model = read_model(path)
    notes: list[str] = []
    _drop_weights_from_inputs(model.graph)
    if _to_float32(model.graph):
        notes.append("float16 weights and tensors were converted to float32, inputs and outputs included")
    model = _at_opset(model, path.name, notes)
    graph = model.graph
    _constants_to_initializers(graph)
    _remove_identities(graph)
    _fold_shapes(model)
    _fold_batch_norms(graph)
    _remove_unused(graph)
    _drop_weights_from_inputs(graph)
    _name_nodes(graph)
    del graph.value_info[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        notes.append(f"shapes could not be inferred: {first_line(error)}")
    return Normalized(with_matrix_heads(model), tuple(notes))


def _check_size(path: Path) -> None:
    """Before any external weight is read: what they are together, by their shapes."""
    tensors = read_model(path, with_weights=False).graph.initializer
    if not any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        return
    size_bytes = sum(prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in tensors)
    if size_bytes > MAX_WEIGHT_BYTES:
        message = f"the weights of {path.name} are {size_bytes / 1e9:.1f} GB; quantising holds a model in one message of at most 2 GB"
        raise Unfit("model-too-large", message, "Deploy it as it is (recipe = none), or quantise its weights where it is exported")


def _drop_weights_from_inputs(graph: Any) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _to_float32(graph: Any) -> bool:
    """Turn every float16 tensor of `graph` and its subgraphs into float32; returns whether there were any."""
    changed = False
    for tensor in graph.initializer:
        changed |= _tensor_to_float32(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
                changed = True
            if attribute.type == onnx.AttributeProto.TENSOR:
                changed |= _tensor_to_float32(attribute.t)
            if attribute.type == onnx.AttributeProto.GRAPH:
                changed |= _to_float32(attribute.g)
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT16:
            kind.elem_type = TensorProto.FLOAT
            changed = True
    return changed


def _tensor_to_float32(tensor: Any) -> bool:
    if tensor.data_type != TensorProto.FLOAT16:
        return False
    wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
    tensor.CopyFrom(wide)
    return True


def _at_opset(model: Any, name: str, notes: list[str]) -> Any:
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1)
    if opset > MAX_OPSET:
        hint = f"Export it with opset {TARGET_OPSET}"
        raise Rejected("model-too-new", f"{name} uses opset {opset}, newer than this program knows", hint)
    if opset >= MIN_OPSET:
        return model
    model.ir_version = max(model.ir_version, 4)
    try:
        converted = onnx.version_converter.convert_version(model, TARGET_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        reason = first_line(error)
        hint = f"Export the model again with opset {TARGET_OPSET}"
        raise Rejected("model-too-old", f"{name} uses opset {opset}, which cannot be converted: {reason}", hint) from error
    converted.ir_version = max(converted.ir_version, 8)
    notes.append(f"converted from opset {opset} to {TARGET_OPSET}")
    return converted


def _constants_to_initializers(graph: Any) -> None:
    kept = []
    for node in graph.node:
        value = _constant_value(node) if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
            continue
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def _constant_value(node: Any) -> Any | None:
    """The tensor of a Constant node; None for text and sparse ones."""
    attribute = node.attribute[0]
    if attribute.name == "value":
        return attribute.t
    kind = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}.get(attribute.name)
    return None if kind is None else numpy_helper.from_array(np.asarray(onnx.helper.get_attribute_value(attribute), kind))


def _fold_shapes(model: Any) -> None:
    """Replace constants that are only given another shape by what comes out: exporters write weights so, and hide that they are constant."""
    graph = model.graph
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        if node.op_type not in _SHAPES or node.output[0] in fixed or not all(name in weights for name in node.input):
            kept.append(node)
            continue
        values = {name: numpy_helper.to_array(weights[name]) for name in node.input}
        folded: Any = ReferenceEvaluator(node, opsets=opsets).run(None, values)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(folded[0]), node.output[0]))
        weights[node.output[0]] = graph.initializer[-1]
    del graph.node[:]
    graph.node.extend(kept)


def _name_nodes(graph: Any) -> None:
    """Exporters leave names empty or use one twice; the name of a node's first output occurs once."""
    seen: set[str] = set()
    for node in graph.node:
        wanted = node.name if node.name and node.name not in seen else node.output[0]
        while wanted in seen:
            wanted += "_"
        node.name = wanted
        seen.add(wanted)


def _remove_identities(graph: Any) -> None:
    """Bypass Identity and (at inference) Dropout, except where they alone name a graph output or a nested graph reads them by name."""
    fixed = {value.name for value in graph.output} | captured_names(graph)
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
        is_bypass = node.op_type == "Identity" or (node.op_type == "Dropout" and not any(node.output[1:]))
        if is_bypass and node.output[0] not in fixed:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _fold_batch_norms(graph: Any) -> None:
    """Multiply each BatchNormalization into the weights of the convolution that alone feeds it."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    fixed = {value.name for value in graph.output} | captured_names(graph)
    producers = {output: node for node in graph.node for output in node.output}
    folded = set()
    for index, node in enumerate(graph.node):
        before = producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if before is None or before.op_type != "Conv" or users[node.input[0]] != 1 or node.input[0] in fixed:
            continue
        if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
            continue
        if not all(name in weights for name in (*node.input[1:5], *before.input[1:])) or any(node.output[1:]):
            continue
        if any(users[name] != 1 or name in fixed for name in before.input[1:]):
            continue
        _fold_one(graph, node, before, weights)
        producers[before.output[0]] = before
        folded.add(index)
    kept = [node for index, node in enumerate(graph.node) if index not in folded]
    del graph.node[:]
    graph.node.extend(kept)


def _fold_one(graph: Any, norm: Any, conv: Any, weights: dict[str, Any]) -> None:
    gamma, beta, mean, variance = (numpy_helper.to_array(weights[name]).astype(np.float64) for name in norm.input[1:5])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    kernel = numpy_helper.to_array(weights[conv.input[1]])
    bias = numpy_helper.to_array(weights[conv.input[2]]) if len(conv.input) > 2 else np.zeros(len(kernel))
    kernel_name, bias_name = conv.input[1], conv.input[2] if len(conv.input) > 2 else f"{conv.output[0]}_bias"
    scaled = (kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))).astype(np.float32)
    weights[kernel_name].CopyFrom(numpy_helper.from_array(scaled, kernel_name))
    tensor = numpy_helper.from_array(((bias - mean) * factor + beta).astype(np.float32), bias_name)
    if bias_name in weights:
        weights[bias_name].CopyFrom(tensor)
    else:
        graph.initializer.append(tensor)
        weights[bias_name] = graph.initializer[-1]
        conv.input.append(bias_name)
    conv.output[0] = norm.output[0]


def _remove_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output} | captured_names(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
