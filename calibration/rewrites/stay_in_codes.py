"""Pads codes instead of numbers: a Pad between two equal quantisations moves codes, and zero has a code of its own.

ONNX Runtime drops the pair around slices, poolings by maximum and reshapes, but not around Pad: there it goes to float and back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Graph, attribute
from ._base import Coded, add_constant, coded_by, copy_of, copy_of_node, with_nodes


class StayInCodes:
    """The rewrite ``stay_in_codes``."""

    words = "padding done on codes"

    def apply(self, model: Any) -> Any | None:
        graph = Graph(model)
        made = copy_of(model)
        taken = set(graph.names)
        moved: dict[str, Any] = {}
        for node in graph.nodes:
            found = _between(graph, node)
            if found is not None:
                before, after = found
                pad = copy_of_node(node)
                del pad.input[2:]
                pad.input[0] = before.codes
                pad.input.append(add_constant(made, taken, f"{node.name or node.output[0]}/padding", before.zero.reshape(())))
                pad.output[0] = after.node.output[0]
                moved[node.output[0]] = pad
        if not moved:
            return None
        gone = {graph.sole_consumer(name).output[0] for name in moved}  # type: ignore[union-attr] # `_between` has seen it
        nodes = [moved.get(node.output[0], node) for node in graph.nodes if node.output[0] not in gone]
        read = {name for node in nodes for name in node.input} | graph.outputs | graph.captured
        return with_nodes(made, [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read])


def _between(graph: Graph, node: Any) -> tuple[Coded, Coded] | None:
    """The equal codings around a Pad by zeros."""
    if node.op_type != "Pad" or attribute(node, "mode", b"constant") != b"constant" or len(node.input) < 2 or len(node.input) > 3:
        return None
    value = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    before = coded_by(graph, graph.producers.get(node.input[0]))
    after = coded_by(graph, graph.sole_consumer(node.output[0]))
    if value is None or value.any() or before is None or after is None or before.node.op_type != "DequantizeLinear":
        return None
    is_same = after.node.op_type == "QuantizeLinear" and before.has_one_scale and before.is_coded_like(after)
    return (before, after) if is_same else None


REWRITE = StayInCodes()
