"""Bias correction: moves each layer's bias by the mean error that rounding its weights causes (Nagel et al. 2019, §4.2).

    E[W·x] − E[Ŵ·x] = (W − Ŵ)·E[x]        E[x] per input channel, from the calibration samples

Rounding errors of one output channel do not cancel when its inputs are mostly positive, as they are after a ReLU; what remains is a constant
shift, worst in depthwise convolutions, and a bias takes it back at no cost. Zero padding at the borders is neglected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .graph import Graph, attribute
from .observers import ChannelMeans
from .plan import Layer, Plan, node_name
from .writer import Floats, QdqWriter, WeightCodes

Doubles = npt.NDArray[np.float64]


def channel_axes(plan: Plan) -> dict[str, int]:
    """The tensors whose channel means a correction needs, with the axis that counts channels."""
    return {layer.source: 1 if layer.op == "Conv" else -1 for layer in plan.layers if _has_bias(layer)}


def corrected_weights(writer: QdqWriter, means: Mapping[str, ChannelMeans]) -> dict[str, WeightCodes]:
    """The rounded weights of every layer that can carry a bias, by the layer's name, with the corrected one."""
    found = {}
    for layer in writer.plan.layers:
        if not _has_bias(layer) or layer.source not in means or not means[layer.source].count:
            continue
        rounded = writer.round_to_nearest(layer)
        shift = _mean_error(writer.graph, layer, rounded, means[layer.source].values)
        bias = shift if rounded.bias is None else rounded.bias + shift
        found[layer.node] = replace(rounded, bias=bias.astype(np.float32))
    return found


def _has_bias(layer: Layer) -> bool:
    return layer.op != "MatMul"


def _mean_error(graph: Graph, layer: Layer, rounded: WeightCodes, mean: Doubles) -> Doubles:
    """(W − Ŵ)·E[x], one number per output channel."""
    weight = graph.constant(layer.weight)
    assert weight is not None
    error = np.moveaxis(weight - real_weights(rounded, layer.axis), layer.axis, 0).astype(np.float64)
    error = error.reshape(*error.shape[:2], -1).sum(2)
    if layer.op != "Conv":
        return np.asarray(error @ mean)
    node = next(node for node in graph.nodes if node_name(node) == layer.node)
    groups: int = attribute(node, "group", 1)
    # Each group of output channels reads its own slice of the input channels.
    inputs = np.repeat(mean.reshape(groups, -1), len(error) // groups, axis=0)
    return np.asarray((error * inputs).sum(1))


def real_weights(rounded: WeightCodes, axis: int) -> Floats:
    """What the codes stand for."""
    shape = [1] * rounded.codes.ndim
    shape[axis] = -1
    return np.asarray(rounded.codes * rounded.scales.reshape(shape), np.float32)
