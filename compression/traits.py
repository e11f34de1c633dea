"""What can be true of a model, and how it is checked: passes require, forbid and ensure these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Trait
from .network import Network

MAX_SHARED_VALUES = 512
_FOLDABLE = frozenset({"Identity", "Constant"})


def broken_trait(network: Network, trait: Trait) -> str | None:
    """None when `trait` holds of `network`; else where it does not."""
    return _CHECKS[trait](network)


def _folded(network: Network) -> str | None:
    graph = network.graph
    fixed = graph.outputs | graph.captured
    for node in graph.nodes:
        if node.op_type in _FOLDABLE and node.output[0] not in fixed and (node.op_type != "Constant" or node.attribute[0].name == "value"):
            return f"{node.name} is a {node.op_type} that could be folded"
    return None


def _shared_weights(network: Network) -> str | None:
    for layer in network.layers:
        count = len(np.unique(network.weight(layer)))
        if count > MAX_SHARED_VALUES and layer.geometry.params > 2 * MAX_SHARED_VALUES:
            return f"{layer.name} has {count} different weights"
    return None


def _sparse_2_4(network: Network) -> str | None:
    for layer in network.layers:
        if can_be_2_4(layer.geometry.channels_in, layer.geometry.groups) and not is_2_4(network.weight(layer)):
            return f"{layer.name} has more than two weights of four"
    return None


def can_be_2_4(channels_in: int, groups: int) -> bool:
    """2:4 counts along the input channels: there must be fours of them."""
    return groups == 1 and channels_in % 4 == 0


def is_2_4(weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    """Whether of every four input channels in a row at most two have a weight, for each output and tap."""
    by_four = weight.reshape(weight.shape[0], weight.shape[1] // 4, 4, -1)
    return bool((np.count_nonzero(by_four, axis=2) <= 2).all())


_CHECKS: dict[Trait, Callable[[Network], str | None]] = {"folded": _folded, "shared-weights": _shared_weights, "sparse-2-4": _sparse_2_4}
