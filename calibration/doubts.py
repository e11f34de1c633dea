"""What is odd about a network before anyone relies on its ranges. Pure."""

from __future__ import annotations

import numpy as np

from .graph import Graph
from .plan import Plan


def dead_channels(graph: Graph, plan: Plan) -> list[str]:
    """A note per layer with output channels whose weights are all zero: they carry nothing but their bias."""
    notes = []
    for layer in plan.layers:
        weight = graph.constant(layer.weight)
        if weight is None:
            continue
        rows = np.moveaxis(weight, layer.axis, 0).reshape(weight.shape[layer.axis], -1)
        dead = int((~rows.any(axis=1)).sum())
        if dead:
            notes.append(f"{dead} of {len(rows)} channels of {layer.node} are dead: their weights are zero")
    return notes
