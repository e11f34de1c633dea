"""The naive ways to compress, for comparison: what anybody's first attempt leaves of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from edgewright.compression.coupling import couple
from edgewright.compression.forms._base import form_macs
from edgewright.compression.forms.lowrank import FORM as LOW_RANK
from edgewright.compression.moments import Normal
from edgewright.compression.network import Network
from edgewright.compression.repair.rebuild import matrix_of
from edgewright.compression.surgery import cut_channels, replace_layer


def naive_factorized(network: Network, ratio: float) -> Any:
    """Every layer at the same ratio, by the SVD of its weights alone."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for layer in network.layers:
        if LOW_RANK.refusal(layer) is not None or layer.geometry.channels_in <= 3:
            continue
        ranks = [rank for rank in LOW_RANK.ranks(layer, 1) if form_macs(LOW_RANK, layer, rank) <= ratio * layer.macs]
        if not ranks:
            continue
        weight = matrix_of(network, layer)
        width = weight.shape[2]
        white = Normal(np.zeros((1, width)), np.zeros((1, 0)), np.eye(width)[None], np.zeros((1, width, 0)), np.zeros((1, 0)), 1)
        fitted = next(LOW_RANK.fit(layer, [ranks[-1]], Normal.of_weights(white, weight), weight))
        bias = network.bias(layer)
        replace_layer(model, layer, fitted.pieces, None if bias is None else bias.astype(np.float64))
    return model


def naive_pruned(network: Network, ratio: float) -> Any:
    """Of every group the same share of channels, those of least L1 norm; nothing is re-solved."""
    coupling = couple(network)
    rows = {layer.name: np.abs(network.weight(layer)).reshape(layer.geometry.channels_out, -1).sum(1) for layer in network.layers}
    for share in np.linspace(0.02, 0.9, 45):
        removed: set[int] = set()
        for group in coupling.groups:
            norms = dict.fromkeys(group.bundles, 0.0)
            for name in group.makers:
                for bundle, norm in zip(coupling.ids[network.layer(name).output], rows[name], strict=True):
                    norms[int(bundle)] += float(norm)
            removed.update(sorted(group.bundles, key=norms.__getitem__)[: int(share * len(group.bundles))])
        model = cut_channels(network, coupling.kept(frozenset(removed)), {})
        if Network(model).macs <= ratio * network.macs:
            return model
    raise RuntimeError("the ratio cannot be reached")
