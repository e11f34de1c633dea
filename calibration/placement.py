"""Decides which ends of the network stay in float: the layers that read its inputs, and those that make its outputs.

The input of a network is its noisiest quantised tensor and its first layer the one that gains least from integers: with few channels an
integer kernel is often no faster, and sometimes slower. Rules:
1. an end stays in float when it does at most `MAX_SHARE` of the network's multiplications and holds at most `MAX_SHARE` of its weights, whose
   reading is what a matrix product costs: that is arithmetic, the same in every run;
2. time is only a veto: an end whose float kernel makes the network slower than `MAX_SLOWDOWN` in each of `BLOCKS` measurements is quantised,
   so that what is written does not hang on the noise of a clock.
What is timed does not depend on codes: those that begin at zero are taken, since only they let activation functions be fused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import prod
from typing import Any

from ..core.errors import EdgewrightError
from ..engines.base import Tensors
from ..engines.ort.runner import OnnxRuntimeRunner
from .collect import open_model
from .graph import Graph
from .heads import tensor_shapes
from .plan import Layer, Plan, plan_for_onnxruntime
from .rewriting import rewritten
from .table import Range, RangeTable
from .writer import Dialect, QdqWriter

MAX_SHARE = 0.08
MAX_SLOWDOWN = 1.06
MAX_SLOWDOWN_FOR_SPEED = 1.01
BLOCKS = 5
_BLOCK_TURNS, _BLOCK_SECONDS = 80, 0.2
_FEW_CHANNELS = 4


def float_ends(graph: Graph, plan: Plan, dialect: Dialect, feeds: Tensors, *, is_for_speed: bool = False) -> frozenset[str]:
    """The names of the layers that should stay in float; empty where the network would have no other layer, or cannot be run.

    `is_for_speed`: the file will be rewritten (`rewriting`) before it runs, and no slowdown that can be measured is accepted.
    """
    most = MAX_SLOWDOWN_FOR_SPEED if is_for_speed else MAX_SLOWDOWN
    first = frozenset(layer.node for layer in plan.layers if layer.source in graph.inputs and _is_narrow(graph, layer))
    last = frozenset(layer.node for layer in plan.layers if layer.output in graph.outputs and layer.op != "Conv")
    work, weights = multiplications(graph, plan), weight_counts(graph, plan)
    chosen: frozenset[str] = frozenset()
    for end in (first, last):
        tried = chosen | end
        if not end or len(tried) >= len(plan.layers) or max(_share(work, end), _share(weights, end)) > MAX_SHARE:
            continue
        try:
            other = plan_for_onnxruntime(graph, tried)
            with _opened(graph, plan, dialect, is_for_speed) as integer, _opened(graph, other, dialect, is_for_speed) as mixed:
                is_vetoed = all(ratio > most for ratio in slowdowns(integer, mixed, feeds))
        except EdgewrightError:
            continue
        if not is_vetoed:
            chosen = tried
    return chosen


def multiplications(graph: Graph, plan: Plan) -> dict[str, int]:
    """How many each layer does for one sample; layers whose shapes are not known are left out."""
    shapes, found = tensor_shapes(graph.model), {}
    for layer in plan.layers:
        weight, shape = graph.constant(layer.weight), shapes.get(layer.raw_output, [])
        if weight is not None and len(shape) > 1 and min(shape[1:]) > 0:
            found[layer.node] = weight.size * prod(shape[2:]) if layer.op == "Conv" else weight.size * prod(shape[1:-1])
    return found


def weight_counts(graph: Graph, plan: Plan) -> dict[str, int]:
    """How many weights each layer has."""
    return {layer.node: weight.size for layer in plan.layers if (weight := graph.constant(layer.weight)) is not None}


def _share(amounts: dict[str, int], nodes: frozenset[str]) -> float:
    return sum(amounts.get(node, 0) for node in nodes) / max(sum(amounts.values()), 1)


def slowdowns(one: OnnxRuntimeRunner, other: OnnxRuntimeRunner, feeds: Tensors) -> Iterator[float]:
    """The least time of `other` as a multiple of that of `one`, run by turns, block by block; each is measured when it is asked for."""
    for runner in (one, other):
        runner.infer(feeds)
    for _ in range(BLOCKS):
        least = [float("inf"), float("inf")]
        stop = time.monotonic() + _BLOCK_SECONDS
        for turn in range(_BLOCK_TURNS):
            for index, runner in enumerate((one, other)):
                started = time.perf_counter()
                runner.infer(feeds)
                least[index] = min(least[index], time.perf_counter() - started)
            if turn >= 2 and time.monotonic() > stop:
                break
        yield least[1] / least[0]


def _is_narrow(graph: Graph, layer: Layer) -> bool:
    weight = graph.constant(layer.weight)
    return weight is not None and layer.op == "Conv" and weight.shape[1] <= _FEW_CHANNELS


def _opened(graph: Graph, plan: Plan, dialect: Dialect, is_rewritten: bool) -> OnnxRuntimeRunner:
    ranges = {name: Range(0.0, 1.0, "none", 0) for name in plan.observed}
    model: Any = QdqWriter(graph, plan, RangeTable(model="", ranges=ranges), dialect).write()
    # With memory of its own, as an application runs it: else fresh pages for float maps would be timed.
    return open_model(rewritten(model) if is_rewritten else model, 1, is_steady=True)
