"""Cuts and joins: puts pieces in a layer's place. The result is a model of the same inputs, outputs and tensor names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .forms._base import Piece
from .moments import Doubles
from .network import Geometry, Layer, Network


def replace_layer(model: Any, layer: Layer, pieces: Sequence[Piece], bias: Doubles | None) -> tuple[str, ...]:
    """Put `pieces` in the place of the node `layer.name` in `model`; `bias` goes to the last one. Returns the names of the new nodes.

    The last piece makes the tensor that the layer made; a layer of one piece keeps its node's name.
    """
    graph = model.graph
    index = next(i for i, node in enumerate(graph.node) if node.name == layer.name)
    old = graph.node[index]
    names = (layer.name,) if len(pieces) == 1 else tuple(f"{layer.name}/{number}" for number in range(1, len(pieces) + 1))
    source = old.input[0]
    made = []
    for number, (name, piece) in enumerate(zip(names, pieces, strict=True)):
        is_last = number == len(pieces) - 1
        target = layer.output if is_last else f"{name}/out"
        made.extend(_nodes(graph, layer, name, piece, source, target, bias if is_last else None))
        source = target
    unused = list(old.input[1:])
    kept = [*graph.node[:index], *made, *graph.node[index + 1 :]]
    copies = []
    for node in kept:
        copy = type(old)()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)
    drop_unused(model, unused)
    return names


def _nodes(graph: Any, layer: Layer, name: str, piece: Piece, source: str, target: str, bias: Doubles | None) -> list[Any]:
    weight = piece.weight.astype(np.float32)
    inputs = [source, _constant(graph, f"{name}/weight", weight.T if layer.op == "MatMul" else weight)]
    if layer.op == "MatMul":
        if bias is None:
            return [helper.make_node("MatMul", inputs, [target], name)]
        between = f"{name}/product"
        add = helper.make_node("Add", [between, _constant(graph, f"{name}/bias", bias.astype(np.float32))], [target], f"{name}/add")
        return [helper.make_node("MatMul", inputs, [between], name), add]
    if bias is not None:
        inputs.append(_constant(graph, f"{name}/bias", bias.astype(np.float32)))
    if layer.op == "Gemm":
        return [helper.make_node("Gemm", inputs, [target], name, transB=1)]
    return [helper.make_node("Conv", inputs, [target], name, **_attributes(piece.geometry))]


def _attributes(geometry: Geometry) -> dict[str, Any]:
    return {
        "kernel_shape": list(geometry.kernel),
        "strides": list(geometry.strides),
        "dilations": list(geometry.dilations),
        "pads": list(geometry.pads),
        "group": geometry.groups,
    }


def _constant(graph: Any, wanted: str, value: Any) -> str:
    """Add an initializer under `wanted`, or a name near it that is free."""
    taken = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    name = wanted
    while name in taken:
        name += "'"
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def drop_unused(model: Any, names: Sequence[str] | None = None) -> None:
    """Remove initializers (of `names`, None = all) that no node reads."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        for entry in node.attribute:
            used.update(_read_inside(entry))
    for index in range(len(graph.initializer) - 1, -1, -1):
        name = graph.initializer[index].name
        if name not in used and (names is None or name in names):
            del graph.initializer[index]


def _read_inside(entry: Any) -> set[str]:
    found: set[str] = set()
    for graph in (entry.g, *entry.graphs):
        for node in graph.node:
            found.update(node.input)
            for inner in node.attribute:
                found |= _read_inside(inner)
    return found


def cut_channels(network: Network, kept: Mapping[str, npt.NDArray[np.intp]], weights: Mapping[str, Doubles]) -> Any:
    """A copy of `network`'s model in which each tensor has only the `kept` channels; `weights` (out × fan-in, by layer) replace a layer's own."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for layer in network.layers:
        rows, columns = kept.get(layer.output), kept.get(layer.source)
        if rows is None and columns is None and layer.name not in weights:
            continue
        geometry = layer.geometry
        weight = network.weight(layer).astype(np.float64)
        if layer.name in weights:
            weight = weights[layer.name].reshape(weight.shape)
        bias = network.bias(layer)
        if rows is not None:
            weight = weight[rows]
            bias = None if bias is None else bias[rows]
        channels_in = geometry.channels_in if columns is None else len(columns)
        if columns is not None and geometry.groups == 1:
            weight = weight[:, columns]
        groups = 1 if geometry.groups == 1 else channels_in
        smaller = replace(geometry, channels_in=channels_in, channels_out=len(weight), groups=groups)
        replace_layer(model, layer, (Piece(smaller, weight),), None if bias is None else bias.astype(np.float64))
    del model.graph.value_info[:]
    return model


def with_weights(network: Network, layer: Layer, weight: Doubles, bias: Doubles) -> Any:
    """A copy of `network`'s model in which `layer` has `weight` (out × fan-in); `bias` is added to its own."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    own = network.bias(layer)
    shape = network.weight(layer).shape
    replace_layer(model, layer, (Piece(layer.geometry, weight.reshape(shape)),), bias if own is None else bias + own)
    return model
