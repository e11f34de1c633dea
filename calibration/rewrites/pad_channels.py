"""Pads the channels that an integer convolution reads until a product of weights fills whole groups of four codes.

Processors multiply four 8-bit codes at once. Where inputs × taps of a convolution is no multiple of four (three colours, nine taps: 27), ONNX
Runtime packs the codes one by one, which takes longer than the convolution. One channel more, whose weights are zero, is exact and packs whole.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import helper

from ..graph import Graph, attribute
from ._base import add_constant, coded_by, copy_of, copy_of_node, new_name, with_nodes

GROUP = 4
_MAX_GROWTH = 1.5


class PadChannels:
    """The rewrite ``pad_channels``."""

    words = "channels padded so that weights fill whole groups of four codes"

    def apply(self, model: Any) -> Any | None:
        made = copy_of(model)
        graph = Graph(model)
        taken = set(graph.names)
        nodes: list[Any] = []
        for node in graph.nodes:
            found = _padding(graph, node)
            if found is None:
                nodes.append(node)
            else:
                nodes += _padded(made, graph, taken, node, found)
        return None if len(nodes) == len(graph.nodes) else with_nodes(made, nodes)


def _padding(graph: Graph, node: Any) -> int | None:
    """How many channels `node` lacks; None where nothing is to be done."""
    if node.op_type != "Conv" or attribute(node, "group", 1) != 1:
        return None
    source, weight = (coded_by(graph, graph.producers.get(name)) for name in node.input[:2])
    if source is None or weight is None or not source.has_one_scale or attribute(weight.node, "axis", 1) != 0:
        return None
    codes = graph.constant(weight.codes)
    if codes is None or codes.ndim < 3 or graph.producers.get(source.codes) is None:
        return None
    channels, taps = codes.shape[1], math.prod(codes.shape[2:])
    wanted = next(count for count in range(channels, channels + GROUP + 1) if count * taps % GROUP == 0)
    return wanted - channels if channels < wanted <= channels * _MAX_GROWTH else None


def _padded(model: Any, graph: Graph, taken: set[str], node: Any, count: int) -> list[Any]:
    source, weight = (coded_by(graph, graph.producers.get(name)) for name in node.input[:2])
    assert source is not None
    assert weight is not None
    codes = graph.constant(weight.codes)
    assert codes is not None
    name, axes = node.name or node.output[0], codes.ndim
    pads = np.zeros(2 * axes, np.int64)
    pads[axes + 1] = count
    wide = np.concatenate([codes, np.zeros((len(codes), count, *codes.shape[2:]), codes.dtype)], axis=1)
    padded, whole = new_name(taken, f"{name}/padded"), new_name(taken, f"{name}/padded/dq")
    weights = new_name(taken, f"{name}/weight/padded/dq")
    zero = source.zero.reshape(())
    inputs = [source.codes, add_constant(model, taken, f"{name}/pads", pads), add_constant(model, taken, f"{name}/padding", zero)]
    dequantize = helper.make_node("DequantizeLinear", [padded, *source.node.input[1:3]], [whole], f"{name}/padded/dequantize")
    wide_name = add_constant(model, taken, f"{name}/weight/padded", wide)
    dequantize_weight = helper.make_node(
        "DequantizeLinear", [wide_name, *weight.node.input[1:3]], [weights], f"{name}/weight/padded/dequantize", axis=0
    )
    conv = copy_of_node(node)
    conv.input[0], conv.input[1] = whole, weights
    return [helper.make_node("Pad", inputs, [padded], f"{name}/pad"), dequantize, dequantize_weight, conv]


REWRITE = PadChannels()
