"""Decides by measuring which ends of the network stay in float: the layers that read its inputs, and those that make its outputs.

The input of a network is its noisiest quantised tensor and its first layer the one that gains least from integers: with few channels an
integer kernel is often no faster, and sometimes slower. So each end is tried in float on this very runtime, and stays so when that costs at
most `MAX_SLOWDOWN` of the whole network's time. What is measured is only time, so codes are arbitrary: those that begin at zero,
since only they let activation functions be fused.
"""

from __future__ import annotations

import time
from typing import Any

from ..core.errors import EdgewrightError
from ..engines.base import Tensors
from ..engines.ort.runner import OnnxRuntimeRunner
from .collect import open_model
from .graph import Graph
from .plan import Layer, Plan, plan_for_onnxruntime
from .table import Range, RangeTable
from .writer import Dialect, QdqWriter

MAX_SLOWDOWN = 1.02
ROUNDS = 400
MAX_SECONDS = 1.0
_FEW_CHANNELS = 4


def float_ends(graph: Graph, plan: Plan, dialect: Dialect, feeds: Tensors) -> frozenset[str]:
    """The names of the layers that should stay in float; empty where the network would have no other layer, or cannot be run."""
    first = frozenset(layer.node for layer in plan.layers if layer.source in graph.inputs and _is_narrow(graph, layer))
    last = frozenset(layer.node for layer in plan.layers if layer.output in graph.outputs and layer.op != "Conv")
    chosen: frozenset[str] = frozenset()
    for end in (first, last):
        tried = chosen | end
        if not end or len(tried) >= len(plan.layers):
            continue
        try:
            with _opened(graph, plan, dialect) as integer, _opened(graph, plan_for_onnxruntime(graph, tried), dialect) as mixed:
                ratio = slowdown(integer, mixed, feeds)
        except EdgewrightError:
            continue
        if ratio <= MAX_SLOWDOWN:
            chosen = tried
    return chosen


def slowdown(one: OnnxRuntimeRunner, other: OnnxRuntimeRunner, feeds: Tensors) -> float:
    """The least time of `other` as a multiple of that of `one`, run by turns."""
    least = [float("inf"), float("inf")]
    for runner in (one, other):
        runner.infer(feeds)
    stop = time.monotonic() + MAX_SECONDS
    for turn in range(ROUNDS):
        for index, runner in enumerate((one, other)):
            started = time.perf_counter()
            runner.infer(feeds)
            least[index] = min(least[index], time.perf_counter() - started)
        if turn >= 4 and time.monotonic() > stop:
            break
    return least[1] / least[0]


def _is_narrow(graph: Graph, layer: Layer) -> bool:
    weight = graph.constant(layer.weight)
    return weight is not None and layer.op == "Conv" and weight.shape[1] <= _FEW_CHANNELS


def _opened(graph: Graph, plan: Plan, dialect: Dialect) -> OnnxRuntimeRunner:
    ranges = {name: Range(0.0, 1.0, "none", 0) for name in plan.observed}
    model: Any = QdqWriter(graph, plan, RangeTable(model="", ranges=ranges), dialect).write()
    return open_model(model, 1)
