"""What a model costs, honestly: MACs, parameters, bytes on flash and on the wire; of what the runtime would have to do, not of what a table says."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from .codec.container import encode_model, serialized
from .network import Network


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """`file_bytes` on flash as ONNX, `wire_bytes` as the codec writes it; `nonzero` counts the parameters that are not zero."""

    macs: int
    params: int
    nonzero: int
    file_bytes: int
    wire_bytes: int


def cost_of(model: Any) -> Cost:
    """The cost of `model`."""
    network = Network(model)
    nonzero = sum(int(np.count_nonzero(network.weight(layer))) for layer in network.layers)
    others = network.params - sum(layer.geometry.params for layer in network.layers)
    return Cost(
        macs=network.macs,
        params=network.params,
        nonzero=nonzero + max(0, others),
        file_bytes=len(serialized(model)),
        wire_bytes=len(encode_model(model)),
    )
