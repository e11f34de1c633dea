"""What a layer of the compressed network should aim at.

Rules:
- the original's output before its activation, not after: a linear layer is fitted to linear values;
- where the layer feeds an addition alone, the sum is the target: the layer then also makes good what the other summand lost;
- where a Relu or Clip follows, values beyond its bounds are free: any value beyond the same bound is as good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..network import Floats, Layer, Network


@dataclass(frozen=True, slots=True)
class Target:
    """`tensor` of the original is the aim of (layer output + `beside` of the compressed network); `bounds` of the activation after it."""

    tensor: str
    beside: str | None
    bounds: tuple[float, float] | None


def target_of(network: Network, layer: Layer) -> Target:
    """The target of `layer` in the original `network`."""
    node = network.graph.sole_consumer(layer.output)
    if node is not None and node.op_type == "Add" and network.shapes.get(node.input[0]) == network.shapes.get(node.input[1]):
        other = node.input[1] if node.input[0] == layer.output else node.input[0]
        if other != layer.output and other not in network.graph.initializers and not _depends(network, other, layer.output):
            return Target(node.output[0], other, network.bounds_after(node.output[0]))
    return Target(layer.output, None, network.bounds_after(layer.output))


def _depends(network: Network, tensor: str, source: str) -> bool:
    """Whether `tensor` is computed from `source`."""
    waiting, seen = [tensor], set()
    while waiting:
        name = waiting.pop()
        if name == source:
            return True
        if name not in seen and (node := network.graph.producers.get(name)) is not None:
            seen.add(name)
            waiting.extend(node.input)
    return False


def within_bounds(target: Floats, predicted: Floats, bounds: tuple[float, float]) -> Floats:
    """The target with its free values moved to where the prediction lies, or to the bound where it lies on the wrong side."""
    low, high = bounds
    below: npt.NDArray[np.float32] = np.where(target <= low, np.minimum(predicted, np.float32(low)), target)
    return np.where(target >= high, np.maximum(predicted, np.float32(high)), below)
