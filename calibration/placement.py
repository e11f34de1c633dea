"""Decides which ends of the network stay in float: the layers that read its inputs, and those that make its outputs.

The input of a network is its noisiest quantised tensor and its first layer the one that gains least from integers: with few channels an
integer kernel is often no faster, and sometimes slower. Rules:
1. an end stays in float when it does at most `MAX_SHARE` of the network's multiplications: that is arithmetic, the same in every run;
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
from .table import Range, RangeTable
from .writer import Dialect, QdqWriter

MAX_SHARE = 0.08
MAX_SLOWDOWN = 1.06
BLOCKS = 5
_BLOCK_TURNS, _BLOCK_SECONDS = 80, 0.2
_FEW_CHANNELS = 4


def float_ends(graph: Graph, plan: Plan, dialect: Dialect, feeds: Tensors) -> frozenset[str]:
    """The names of the layers that should stay in float; empty where the network would have no other layer, or cannot be run."""
    first = frozenset(layer.node for layer in plan.layers if layer.source in graph.inputs and _is_narrow(graph, layer))
    last = frozenset(layer.node for layer in plan.layers if layer.output in graph.outputs and layer.op != "Conv")
    work = multiplications(graph, plan)
    chosen: frozenset[str] = frozenset()
    for end in (first, last):
        tried = chosen | end
        share = sum(work.get(node, 0) for node in end) / max(sum(work.values()), 1)
        if not end or len(tried) >= len(plan.layers) or share > MAX_SHARE:
            continue
        try:
            with _opened(graph, plan, dialect) as integer, _opened(graph, plan_for_onnxruntime(graph, tried), dialect) as mixed:
                is_vetoed = all(ratio > MAX_SLOWDOWN for ratio in slowdowns(integer, mixed, feeds))
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


def _opened(graph: Graph, plan: Plan, dialect: Dialect) -> OnnxRuntimeRunner:
    ranges = {name: Range(0.0, 1.0, "none", 0) for name in plan.observed}
    model: Any = QdqWriter(graph, plan, RangeTable(model="", ranges=ranges), dialect).write()
    return open_model(model, 1)
