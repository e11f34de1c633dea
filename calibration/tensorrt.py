"""What TensorRT takes from a calibration: a Q/DQ model for explicit INT8, and a calibration cache for implicit INT8.

Rules of placement (NVIDIA's, for its explicit quantisation):
1. in front of every quantised layer one Q/DQ on its input, symmetric s8, and one on its weights, per output channel; biases stay float;
2. no Q/DQ behind a layer: the next one's in front of it fuses, together with what lies between (activation functions, pooling);
3. of a residual addition the operand that is not a layer's own output is quantised, so that the addition fuses into that layer;
4. transposed convolutions of one group are layers here, which ONNX Runtime has no integer kernel for.

The cache is plain text: a line with version and algorithm, then ``tensor: scale`` with the scale max|x| / 127 as big-endian float32 in
hexadecimal. It names tensors of the original model, and TensorRT 8.6 … 10.x reads it; 11 has no implicit INT8.
"""

from __future__ import annotations

import struct
from typing import Any

from .graph import Graph, attribute
from .plan import Layer, Plan, node_name, plan_for_onnxruntime
from .table import RangeTable

CACHE_VERSION = 100300
CACHE_ALGORITHM = "EntropyCalibration2"


def plan_for_tensorrt(graph: Graph, keep_float: frozenset[str] = frozenset()) -> Plan:
    """The plan for TensorRT's explicit INT8; nodes named in `keep_float` stay in float."""
    wide = plan_for_onnxruntime(graph, keep_float)
    transposed = [_transposed(node) for node in graph.nodes if node_name(node) not in keep_float and _is_transposed_layer(graph, node)]
    layers = (*wide.layers, *transposed)
    tensors = dict.fromkeys(layer.source for layer in layers)
    tensors.update(dict.fromkeys(name for node in graph.nodes if node.op_type == "Add" for name in _residual(graph, node, layers)))
    names = {layer.node for layer in transposed}
    return Plan(layers, frozenset(), tuple(tensors), {}, tuple(entry for entry in wide.skipped if entry.node not in names))


def _is_transposed_layer(graph: Graph, node: Any) -> bool:
    if node.op_type != "ConvTranspose" or attribute(node, "group", 1) != 1 or node.input[0] not in graph.float_tensors:
        return False
    weight = graph.constant(node.input[1])
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    is_known = weight is not None and weight.dtype == "float32" and weight.ndim in {3, 4}
    has_known_bias = len(node.input) < 3 or not node.input[2] or (bias is not None and bias.dtype == "float32")
    return is_known and has_known_bias and not graph.captured.intersection((node.input[0], node.output[0]))


def _transposed(node: Any) -> Layer:
    """Its weights are inputs × outputs × places: axis 1 counts the output channels."""
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    return Layer(node_name(node), node.op_type, node.input[0], node.input[1], bias, node.output[0], node.output[0], 1)


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
