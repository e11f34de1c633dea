"""Channel folding without any data: channels that others can stand in for are removed, their readers re-solved.

What the data would tell is assumed: a layer's inputs are white, so that its outputs u are Gaussian with covariance W·Wᵀ. Behind a Relu

    E[relu(u)·relu(v)] = |u||v| · (sin θ + (π − θ)·cos θ) / 2π      E[relu(u)] = |u| / √2π      θ the angle between the rows of W

(the arc-cosine kernel). With these covariances channels are chosen and folded into the others as in ``prune_channels``.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import Rejected
from ..base import Change, ChannelOptions, Context, Gain, PassResult, Trait, unchanged
from ..coupling import couple
from ..moments import Doubles, Normal
from ..network import Layer, Network
from ..repair.rebuild import matrix_of
from ..step import channel_step
from ..surgery import cut_channels, with_weights
from ..thinning import Reader, Thinning

_TINY = 1e-12


class FoldChannels:
    """The pass ``fold_channels``."""

    options = ChannelOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights", "sparse-2-4"})
    ensures: frozenset[Trait] = frozenset()
    gain: Gain = "time"
    needs_data = False

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: ChannelOptions, context: Context) -> PassResult:
        coupling = couple(network)
        if not coupling.groups:
            return unchanged(network, "no channels can be removed: all of them reach an output, a reshape or something that is not understood")
        assumed = {layer.name: _assumed(network, layer) for layer in network.layers if layer.geometry.groups == 1}
        readers = {name: Reader.of(network.layer(name), matrix_of(network, network.layer(name))[0], normal) for name, normal in assumed.items()}
        thinning = Thinning(network, coupling, readers, options.step or channel_step())
        left = thinning.thin(options.macs_ratio * network.macs)
        if left > options.macs_ratio * network.macs:
            message = f"{options.macs_ratio:g} of the MACs cannot be reached by folding channels: {left / network.macs:.2f} can"
            raise Rejected("ratio-unreachable", message, f"Ask for at least {left / network.macs:.2f}, or add another pass")
        kept = coupling.kept(frozenset(thinning.removed))
        corrected = network
        for name, reader in readers.items():
            layer = network.layer(name)
            shift = np.einsum("od,d->o", matrix_of(network, layer)[0] - reader.weight, assumed[name].mean_x[0])
            if np.abs(shift).max() > 0:
                corrected = Network(with_weights(corrected, corrected.layer(name), reader.weight, shift))
        model = cut_channels(corrected, kept, {})
        changes = tuple(
            Change(layer.name, f"{len(kept[layer.output])} of {layer.geometry.channels_out} channels")
            for layer in network.layers
            if layer.output in kept
        )
        return PassResult(model, modified=True, changes=changes, notes=("no data: inputs of every layer are taken as white",))


def _assumed(network: Network, layer: Layer) -> Normal:
    """The equations of `layer` when what feeds it is as assumed; taps are independent."""
    channels, taps = layer.geometry.channels_in, layer.geometry.taps
    mean, covariance = _source(network, layer.source, channels)
    xx: Doubles = np.kron(covariance, np.eye(taps))[None].astype(np.float64)
    source = Normal(np.repeat(mean, taps)[None], np.zeros((1, 0)), xx, np.zeros((1, channels * taps, 0)), np.zeros((1, 0)), 1)
    return Normal.of_weights(source, matrix_of(network, layer))


def _source(network: Network, tensor: str, channels: int) -> tuple[Doubles, Doubles]:
    """Mean and covariance of the channels of `tensor`: behind one dense layer and at most a Relu or Clip and a pooling; else white."""
    is_rectified = False
    makers = {layer.output: layer for layer in network.layers}
    while tensor not in makers:
        node = network.graph.producers.get(tensor)
        if node is None or node.op_type not in {"Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Dropout"}:
            return np.zeros(channels), np.eye(channels)
        is_rectified |= node.op_type in {"Relu", "Clip"}
        tensor = node.input[0]
    maker = makers[tensor]
    if maker.geometry.groups != 1 or maker.geometry.channels_out != channels:
        return np.zeros(channels), np.eye(channels)
    weight = matrix_of(network, maker)[0]
    bias = network.bias(maker)
    rows = weight if bias is None else np.concatenate([weight, bias[:, None].astype(np.float64)], axis=1)
    gram = rows @ rows.T
    return rectified(gram) if is_rectified else (np.zeros(channels), gram)


def rectified(gram: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and covariance of relu(u) for Gaussian u of zero mean and covariance `gram`."""
    lengths = np.sqrt(np.maximum(np.diagonal(gram), _TINY))
    products = lengths[:, None] * lengths
    cosines = np.clip(gram / products, -1.0, 1.0)
    angles = np.arccos(cosines)
    moments = products * (np.sin(angles) + (np.pi - angles) * cosines) / (2 * np.pi)
    mean = lengths / np.sqrt(2 * np.pi)
    return mean, moments - mean[:, None] * mean


PASS = FoldChannels()
