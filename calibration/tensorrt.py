"""What TensorRT takes from a calibration: a Q/DQ model for explicit INT8, and a calibration cache for implicit INT8.

Rules of placement (NVIDIA's, for its explicit quantisation):
1. in front of every quantised layer one Q/DQ on its input, symmetric s8, and one on its weights, per output channel; biases stay float;
2. no Q/DQ behind a layer: the next one's in front of it fuses, together with what lies between (activation functions, pooling);
3. of a residual addition the operand that is not a layer's own output is quantised, so that the addition fuses into that layer.

The cache is plain text: a line with version and algorithm, then ``tensor: scale`` with the scale max|x| / 127 as big-endian float32 in
hexadecimal. It names tensors of the original model, and TensorRT 8.6 … 10.x reads it; 11 has no implicit INT8.
"""

from __future__ import annotations

import struct
from typing import Any

from .graph import Graph
from .plan import Layer, Plan, plan_for_onnxruntime
from .table import RangeTable

CACHE_VERSION = 100300
CACHE_ALGORITHM = "EntropyCalibration2"


def plan_for_tensorrt(graph: Graph, keep_float: frozenset[str] = frozenset()) -> Plan:
    """The plan for TensorRT's explicit INT8; nodes named in `keep_float` stay in float."""
    wide = plan_for_onnxruntime(graph, keep_float)
    tensors = dict.fromkeys(layer.source for layer in wide.layers)
    tensors.update(dict.fromkeys(name for node in graph.nodes if node.op_type == "Add" for name in _residual(graph, node, wide.layers)))
    return Plan(wide.layers, frozenset(), tuple(tensors), {}, wide.skipped)


def _residual(graph: Graph, node: Any, layers: tuple[Layer, ...]) -> list[str]:
    """The operand of an Add that must carry Q/DQ: the one that is not the raw output of a layer which only this Add reads."""
    raw = {layer.raw_output for layer in layers}
    fusible = [name for name in node.input if name in raw and graph.sole_consumer(name) is node]
    others = [name for name in node.input if name not in fusible[:1]]
    return others if fusible and len(node.input) == 2 and all(name in graph.float_tensors and graph.constant(name) is None for name in others) else []


def calibration_cache(table: RangeTable, *, version: int = CACHE_VERSION) -> str:
    """The cache for the tensors of `table`, in the order of their names; tensors that never left zero are left out."""
    lines = [f"TRT-{version}-{CACHE_ALGORITHM}"]
    for name, interval in sorted(table.ranges.items()):
        reach = max(-interval.low, interval.high)
        if reach > 0:
            lines.append(f"{name}: {struct.pack('>f', reach / 127).hex()}")
    return "\n".join(lines) + "\n"
