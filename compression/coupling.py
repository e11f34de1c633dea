"""Which channels can only go together: residual sums, concatenations, depthwise convolutions and flattening tie them.

Every channel of every tensor gets an identity; nodes that pass channels through keep it, sums unite identities, layers make fresh ones.
Channels that reach something that is not understood here (a reshape, an output of the model, weights that two layers share) are pinned: they stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..calibration.graph import attribute
from .network import Layer, Network

Ids = npt.NDArray[np.intp]
_THROUGH = frozenset({
    "Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSigmoid", "HardSwish", "Softplus", "Abs", "Neg", "Sqrt", "Exp", "Erf", "Gelu",
    "Selu", "Celu", "Mish", "Softsign", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
})  # fmt: skip
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Min", "Max", "Sum"})


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that the same layers make: `bundles` are identities, each of which goes whole or stays."""

    makers: tuple[str, ...]
    bundles: tuple[int, ...]


@dataclass(frozen=True)
class Coupling:
    """The identity of every channel of every tensor (axis 1), and the groups that may be thinned."""

    ids: dict[str, Ids]
    groups: tuple[ChannelGroup, ...]

    def kept(self, removed: frozenset[int]) -> dict[str, Ids]:
        """For each tensor that loses channels, the positions that stay."""
        gone = np.array(sorted(removed), np.intp)
        found = {}
        for name, ids in self.ids.items():
            stays = ~np.isin(ids, gone)
            if not stays.all():
                found[name] = np.flatnonzero(stays)
        return found


def couple(network: Network) -> Coupling:
    """Trace the channels of `network`."""
    return _Tracer(network).trace()


class _Tracer:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._parent: list[int] = []
        self._pinned: set[int] = set()
        self._ids: dict[str, Ids] = {}
        self._makers: dict[int, list[str]] = {}
        self._layers = {layer.name: layer for layer in network.layers}
        uses = Counter(layer.weight for layer in network.layers)
        self._shared = {layer.name for layer in network.layers if uses[layer.weight] > 1 or len(network.graph.consumers[layer.weight]) > 1}

    def trace(self) -> Coupling:
        for name in self._network.graph.inputs:
            self._pin([self._fresh(name)])
        for node in self._network.graph.nodes:
            self._visit(node)
        for name in self._network.graph.outputs | self._network.graph.captured:
            if name in self._ids:
                self._pin([self._ids[name]])
        return self._coupling()

    def _coupling(self) -> Coupling:
        ids = {name: np.array([self._root(i) for i in values], np.intp) for name, values in self._ids.items()}
        pinned = {self._root(i) for i in self._pinned}
        makers: dict[int, set[str]] = {}
        for identity, names in self._makers.items():
            makers.setdefault(self._root(identity), set()).update(names)
        groups: dict[tuple[str, ...], list[int]] = {}
        for root, names_of in makers.items():
            if root not in pinned:
                groups.setdefault(tuple(sorted(names_of)), []).append(root)
        return Coupling(ids, tuple(ChannelGroup(names, tuple(sorted(roots))) for names, roots in groups.items()))

    # --- nodes ------------------------------------------------------------------------------------------------------------------------

    def _visit(self, node: Any) -> None:
        layer = self._layers.get(node.name)
        inputs = [self._ids[name] for name in node.input if name in self._ids]
        made = None
        if layer is not None:
            made = self._layer(layer)
        elif node.op_type in _THROUGH:
            made = self._same(node, inputs)
        elif node.op_type in _ELEMENTWISE:
            made = self._elementwise(node)
        elif node.op_type == "Concat":
            made = self._concat(node, inputs)
        elif node.op_type == "Flatten":
            made = self._flatten(node)
        elif node.op_type in {"Slice", "Pad"}:
            made = self._spatial(node)
        if made is None or len([name for name in node.output if name]) > 1:
            self._pin(inputs)
            for name in node.output:
                if name in self._network.shapes:
                    self._pin([self._fresh(name)])
            return
        self._ids[node.output[0]] = made

    def _layer(self, layer: Layer) -> Ids | None:
        source, geometry = self._ids.get(layer.source), layer.geometry
        if source is None or layer.name in self._shared or len(source) != geometry.channels_in:
            return None
        if geometry.groups == 1:
            if not geometry.kernel and layer.size != (1,):
                return None
            made = self._fresh(layer.output, geometry.channels_out)
            for identity in made:
                self._makers[int(identity)] = [layer.name]
            return made
        if geometry.groups == geometry.channels_in and geometry.channels_out % geometry.groups == 0:
            return np.repeat(source, geometry.channels_out // geometry.groups)
        return None

    def _same(self, node: Any, inputs: Sequence[Ids]) -> Ids | None:
        before, after = self._network.shapes.get(node.input[0]), self._network.shapes.get(node.output[0])
        if len(inputs) != 1 or before is None or after is None or before[1:2] != after[1:2]:
            return None
        return inputs[0]

    def _elementwise(self, node: Any) -> Ids | None:
        shape = self._network.shapes.get(node.output[0])
        if shape is None or len(shape) < 2:
            return None
        found: Ids | None = None
        for name in node.input:
            if (value := self._network.graph.constant(name)) is not None:
                if (value.ndim == len(shape) and value.shape[1] != 1) or (value.ndim == len(shape) - 1 and value.shape[0] != 1):
                    return None
                continue
            ids, own = self._ids.get(name), self._network.shapes.get(name)
            if ids is None or own is None or len(own) != len(shape) or len(ids) != shape[1]:
                return None
            if found is not None:
                for a, b in zip(found, ids, strict=True):
                    self._unite(int(a), int(b))
            found = ids
        return found

    def _concat(self, node: Any, inputs: Sequence[Ids]) -> Ids | None:
        shape = self._network.shapes.get(node.output[0])
        if shape is None or len(inputs) != len(node.input) or attribute(node, "axis", 1) % len(shape) != 1:
            return None
        return np.concatenate(inputs)

    def _flatten(self, node: Any) -> Ids | None:
        shape, ids = self._network.shapes.get(node.input[0]), self._ids.get(node.input[0])
        if shape is None or ids is None or attribute(node, "axis", 1) != 1:
            return None
        return np.repeat(ids, int(np.prod(shape[2:])))

    def _spatial(self, node: Any) -> Ids | None:
        """A Slice or Pad that leaves axis 1 alone."""
        before, after = self._network.shapes.get(node.input[0]), self._network.shapes.get(node.output[0])
        if before is None or after is None or before[1] != after[1]:
            return None
        if node.op_type == "Pad":
            pads = self._network.graph.constant(node.input[1])
            if pads is None or len(node.input) > 3 or pads[1] or pads[1 + len(before)]:
                return None
        else:
            axes = self._network.graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
            if axes is None or any(int(axis) % len(before) < 2 for axis in axes):
                return None
        return self._ids.get(node.input[0])

    # --- identities -------------------------------------------------------------------------------------------------------------------

    def _fresh(self, tensor: str, count: int | None = None) -> Ids:
        shape = self._network.shapes.get(tensor, ())
        size = count if count is not None else (shape[1] if len(shape) > 1 else 1)
        ids = np.arange(len(self._parent), len(self._parent) + size)
        self._parent.extend(ids.tolist())
        self._ids[tensor] = ids
        return ids

    def _pin(self, several: Sequence[Ids]) -> None:
        for ids in several:
            self._pinned.update(int(i) for i in ids)

    def _root(self, identity: int) -> int:
        while self._parent[identity] != identity:
            self._parent[identity] = self._parent[self._parent[identity]]
            identity = self._parent[identity]
        return identity

    def _unite(self, a: int, b: int) -> None:
        self._parent[self._root(a)] = self._root(b)
