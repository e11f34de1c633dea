"""Turns a 1×1 convolution of a 1×1 map into the matrix product that it is.

A quantised convolution has no float output, so that a classifier written as one would leave its logits in 256 steps; a Gemm's leave exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from .graph import Graph, attribute


def with_matrix_heads(model: Any) -> Any:
    """`model`, changed in place: each Conv → Flatten on 1×1 maps becomes Flatten → Gemm. Shapes must be inferred."""
    graph = Graph(model)
    shapes = tensor_shapes(model)
    replaced: dict[str, list[Any]] = {}
    dropped: set[str] = set()
    for node in graph.nodes:
        flatten = graph.sole_consumer(node.output[0])
        if flatten is None or not _is_head(graph, node, flatten, shapes):
            continue
        weight = graph.constant(node.input[1])
        assert weight is not None
        graph.initializers[node.input[1]].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight[:, :, 0, 0]), node.input[1]))
        flat = node.output[0]
        source = helper.make_node("Flatten", [node.input[0]], [flat], f"{node.name}/flatten", axis=1)
        product = helper.make_node("Gemm", [flat, *node.input[1:]], list(flatten.output), node.name, transB=1)
        replaced[node.name] = [source, product]
        dropped.add(flatten.name)
    if replaced:
        kept = [copy for node in graph.nodes if node.name not in dropped for copy in replaced.get(node.name, [node])]
        flats = {nodes[0].output[0] for nodes in replaced.values()}
        del model.graph.node[:]
        model.graph.node.extend(kept)
        for value in model.graph.value_info:
            if value.name in flats:
                del value.type.tensor_type.shape.dim[2:]
                value.type.tensor_type.shape.dim[1].dim_value = shapes[replaced[_by_output(replaced, value.name)][0].input[0]][1]
    return model


def tensor_shapes(model: Any) -> dict[str, list[int]]:
    """Known shapes by tensor; 0 stands for a free axis."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values}


def _by_output(replaced: dict[str, list[Any]], output: str) -> str:
    return next(name for name, nodes in replaced.items() if nodes[0].output[0] == output)


def _is_head(graph: Graph, node: Any, flatten: Any, shapes: dict[str, list[int]]) -> bool:
    if node.op_type != "Conv" or flatten.op_type != "Flatten" or attribute(flatten, "axis", 1) != 1 or attribute(node, "group", 1) != 1:
        return False
    weight = graph.constant(node.input[1])
    if weight is None or weight.shape[2:] != (1, 1) or len(graph.consumers[node.input[1]]) > 1 or any(attribute(node, "pads", [0])):
        return False
    return shapes.get(node.input[0], [])[2:] == [1, 1] and shapes[node.input[0]][1] > 0
