"""Equalisation: factors per channel that make better use of the codes, at no cost when the network runs (Nagel et al. 2019, widened).

One scale serves a whole activation tensor, so a channel that reaches a tenth of the range has a tenth of the codes. A factor on the channel,
taken back by the weights that read it, gives it more. Rules:
- through a Clip a channel may only grow until what it is expected to reach meets the bound, so that the function stays the same; a
  channel that the bound already cuts keeps the factor 1;
- what a channel is *expected* to reach is the return level of its maxima per sample (Gumbel), taken before the activation function where
  there is one: a feature that none of the samples shows is still seen in how near it came;
- the exponent between "all channels alike" and "as they are" minimises the predicted noise at the readers' outputs: rounding of the
  activation against rounding of the weights, whose largest entries grow where channels shrink;
- depthwise readers have a weight scale per channel, so nothing speaks against equal channels there;
- weights that lie on a grid (see `rounding`) have no rounding error as long as their columns keep their factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from .channels import ChannelMap, takes_factors
from .graph import Graph, attribute, clip_bounds
from .observers import ChannelStatistics, Maxima
from .plan import Plan
from .rounding import grid_steps

Doubles = npt.NDArray[np.float64]
MAX_FACTOR = 2.0
EXPONENTS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RETURN_SAMPLES = 30_000
_EULER = 0.5772156649


@dataclass(frozen=True, slots=True)
class _Reach:
    """What each channel of a tensor is expected to reach, and its power."""

    low: Doubles
    high: Doubles
    power: Doubles


def watched_channels(plan: Plan) -> tuple[str, ...]:
    """The tensors whose `ChannelStatistics` equalisation wants."""
    return tuple(dict.fromkeys((*plan.tensors, *(layer.raw_output for layer in plan.layers))))


def return_level(maxima: Maxima) -> Doubles:
    """What the largest of `RETURN_SAMPLES` samples would reach, from the maxima of few: Gumbel by moments, never below what was seen."""
    spread = maxima.deviation * np.sqrt(6) / np.pi
    return np.asarray(np.maximum(maxima.peak, maxima.mean + spread * (np.log(RETURN_SAMPLES) - _EULER)))


def channel_factors(graph: Graph, plan: Plan, channels: ChannelMap, statistics: dict[str, ChannelStatistics]) -> Doubles:
    """One factor per class of `channels`."""
    reach = _reaches(graph, plan, statistics)
    tensors = [name for name in plan.tensors if name in reach and name in channels.classes and len(channels.classes[name]) == len(reach[name].high)]
    low, high = _bounds(graph, channels, reach)
    factors = np.ones(len(channels.fixed))
    for family in _families(tensors, channels):
        classes = np.unique(np.concatenate([channels.classes[name] for name in family]))
        if np.all(high[classes] <= low[classes]):
            continue
        relative = _relative_reach(family, channels, reach, len(factors))[classes]
        best, least = factors, float("inf")
        for exponent in EXPONENTS:
            tried = factors.copy()
            tried[classes] = np.clip(np.maximum(relative, 1e-6) ** -exponent, low[classes], high[classes])
            noise = sum(_noise(graph, name, tried[channels.classes[name]], reach[name]) for name in family)
            if noise < least * 0.999:
                best, least = tried, noise
        factors = best
    return factors


def equalized(graph: Graph, channels: ChannelMap, factors: Doubles) -> Any:
    """A copy of the model with `factors` put into weights and biases; in exact arithmetic its outputs are the same."""
    model = type(graph.model)()
    model.CopyFrom(graph.model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in graph.nodes:
        if node.op_type not in {"Conv", "Gemm"} or node.input[0] not in channels.classes or node.output[0] not in channels.classes:
            continue
        source, made = factors[channels.classes[node.input[0]]], factors[channels.classes[node.output[0]]]
        if not takes_factors(graph, node, len(source)) or (np.all(source == 1) and np.all(made == 1)):
            continue
        weight = graph.constant(node.input[1])
        assert weight is not None
        _put(weights[node.input[1]], _scaled(node, weight.astype(np.float64), source, made))
        if len(node.input) > 2 and node.input[2]:
            bias = graph.constant(node.input[2])
            assert bias is not None
            _put(weights[node.input[2]], bias * made)
    return model


def _put(tensor: Any, values: npt.NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))


def _scaled(node: Any, weight: Doubles, source: Doubles, made: Doubles) -> Doubles:
    if node.op_type == "Gemm":
        return weight * (made[:, None] / source if attribute(node, "transB", 0) else made / source[:, None])
    ones = [1] * (weight.ndim - 2)
    if attribute(node, "group", 1) > 1:
        return weight * (made / source).reshape(-1, 1, *ones)
    return weight * made.reshape(-1, 1, *ones) / source.reshape(1, -1, *ones)


def _reaches(graph: Graph, plan: Plan, statistics: dict[str, ChannelStatistics]) -> dict[str, _Reach]:
    found = {name: _Reach(-return_level(seen.negative), return_level(seen.high), seen.power) for name, seen in statistics.items()}
    reach = {}
    for name, seen in statistics.items():
        # A tensor that is never negative has no reach below zero, however its minima scatter.
        low = np.where(seen.negative.peak <= 0, 0.0, np.minimum(found[name].low, 0))
        reach[name] = _Reach(low, np.maximum(found[name].high, 0), seen.power)
    for layer in plan.layers:
        if layer.output == layer.raw_output or layer.output not in found or layer.raw_output not in found:
            continue
        after = graph.producers[layer.output]
        bounds = clip_bounds(graph, after) or (0.0, float("inf"))
        raw = found[layer.raw_output]
        high = np.minimum(np.maximum(raw.high, 0), bounds[1])
        reach[layer.output] = _Reach(np.maximum(np.minimum(raw.low, 0), bounds[0]), high, statistics[layer.output].power)
    return reach


def _bounds(graph: Graph, channels: ChannelMap, reach: dict[str, _Reach]) -> tuple[Doubles, Doubles]:
    low, high = np.full(len(channels.fixed), 1 / MAX_FACTOR), np.full(len(channels.fixed), MAX_FACTOR)
    low[channels.fixed] = high[channels.fixed] = 1
    for node in graph.nodes:
        if node.op_type != "Clip" or node.output[0] not in channels.classes:
            continue
        classes, seen = channels.classes[node.output[0]], reach.get(node.output[0])
        bounds = clip_bounds(graph, node)
        if seen is None or bounds is None or len(seen.high) != len(classes) or bounds[0] not in {0.0, float("-inf")}:
            low[classes] = high[classes] = 1
        elif np.isfinite(bounds[1]):
            room = bounds[1] / np.maximum(seen.high, 1e-9)
            is_cut = room <= 1 + 1e-6
            np.minimum.at(high, classes, np.where(is_cut, 1.0, room))
            np.maximum.at(low, classes, np.where(is_cut, 1.0, 1 / MAX_FACTOR))
    return low, np.maximum(high, low)


def _families(tensors: list[str], channels: ChannelMap) -> list[list[str]]:
    """Tensors that share a class, together: a factor in one moves the others."""
    families: list[tuple[set[int], list[str]]] = []
    for name in tensors:
        classes = set(channels.classes[name].tolist())
        touched = [family for family in families if family[0] & classes]
        families = [family for family in families if not family[0] & classes]
        families.append((classes.union(*(family[0] for family in touched)), [member for family in touched for member in family[1]] + [name]))
    return [members for _, members in families]


def _relative_reach(family: list[str], channels: ChannelMap, reach: dict[str, _Reach], count: int) -> Doubles:
    relative = np.zeros(count)
    for name in family:
        extent = np.maximum(-reach[name].low, reach[name].high)
        np.maximum.at(relative, channels.classes[name], extent / max(float(extent.max()), 1e-12))
    return relative


def _noise(graph: Graph, name: str, factors: Doubles, reach: _Reach) -> float:
    """Predicted mean squared error at the outputs of everything that reads `name`, in units of the unscaled network."""
    step = (float((reach.high * factors).max()) - float((reach.low * factors).min())) / 255
    readers = [node for node in graph.consumers.get(name, []) if node.op_type in {"Conv", "Gemm"} and node.input[0] == name]
    if not readers:
        return step**2 / 12 * float((1 / factors**2).sum())
    total = 0.0
    for node in readers:
        weight = graph.constant(node.input[1])
        if weight is None:
            continue
        by_channel = np.abs(weight if node.op_type == "Conv" or attribute(node, "transB", 0) else weight.T).astype(np.float64)
        by_channel = by_channel.reshape(*by_channel.shape[:2], -1)
        if node.op_type == "Conv" and attribute(node, "group", 1) > 1:
            if by_channel.shape[:2] == (len(factors), 1):
                total += step**2 / 12 * float(((by_channel**2).sum(axis=(1, 2)) / factors**2).sum())
            continue
        total += step**2 / 12 * float(((by_channel**2).sum(axis=(0, 2)) / factors**2).sum())
        if np.all(factors == 1) and _is_on_grid(by_channel):
            continue
        weight_steps = (by_channel.max(axis=2) / factors).max(axis=1) / 127
        total += float((weight_steps**2).sum()) / 12 * by_channel.shape[2] * float((factors**2 * reach.power).sum())
    return total


def _is_on_grid(magnitudes: Doubles) -> bool:
    """Whether most output channels' weights are multiples of a step that eight bits hold: looked at in a few of them."""
    rows = magnitudes.reshape(len(magnitudes), -1)[:: max(1, len(magnitudes) // 8)]
    steps = grid_steps(rows)
    return bool(np.mean(np.nan_to_num(steps, nan=0.0) * 127.4 >= rows.max(axis=1)) > 0.5)
