"""A network in codes without calibrating it: weights rounded to the nearest code, ranges as far as they are known.

It is as fast as the calibrated one; what it computes is as good as its ranges.
"""

from __future__ import annotations

from typing import Any

from .dialects import TENSORRT, onnxruntime_dialect
from .graph import Graph
from .plan import plan_for_onnxruntime
from .rewriting import rewritten
from .table import Range, RangeTable
from .tensorrt import plan_for_tensorrt
from .writer import QdqWriter

# Codes that begin at zero: only those let activation functions be fused.
_UNKNOWN = Range(0.0, 1.0, "none", 0)


def in_codes(model: Any, keep_float: frozenset[str], known: RangeTable, *, is_explicit: bool = False) -> Any | None:
    """The normalised `model` quantised but for the nodes `keep_float`; None when nothing is left to be quantised.

    Tensors that `known` does not name get an arbitrary range. `is_explicit`: as TensorRT takes it, else as ONNX Runtime does, after every exact
    rewrite.
    """
    graph = Graph(model)
    plan = plan_for_tensorrt(graph, keep_float) if is_explicit else plan_for_onnxruntime(graph, keep_float)
    if not plan.layers:
        return None
    ranges = {name: known.ranges.get(name, _UNKNOWN) for name in plan.observed}
    dialect = TENSORRT if is_explicit else onnxruntime_dialect()
    written = QdqWriter(graph, plan, RangeTable(model="", ranges=ranges), dialect).write()
    return written if is_explicit else rewritten(written)
