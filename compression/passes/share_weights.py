"""Weight sharing: each layer's weights take few values, as many bits as the layer is worth, so that the codec stores them small.

The fineness of each layer is chosen by measured sensitivity for a given size; then the network is rebuilt layer by layer, each layer rounded
in second-order order towards the original's activations (`forms.shared`). Biases become exact in float16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from ...core.errors import Rejected
from ..base import Change, Context, Gain, PassOptions, PassResult, Trait, unchanged
from ..fidelity import record_reference
from ..forms._base import Form, Rank
from ..forms.shared import FORM
from ..network import Layer, Network
from ..repair.rebuild import rebuild
from ..select import Option, select
from ..sensitivity import measure_offers

FINENESS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
# Node names, shapes and tables of values, compressed: what a model weighs beside its weights, per layer and once.
_BYTES_PER_LAYER, _BYTES_ONCE = 90, 700
_CODER_LOSS = 1.02


class ShareOptions(PassOptions, frozen=True, kw_only=True):
    """How many times smaller the coded file shall be than the weights in float32."""

    ratio: float

    def __post_init__(self) -> None:
        if not 2 <= self.ratio <= 40:
            raise ValueError(f"ratio = {self.ratio} is out of range 2..40")


class ShareWeights:
    """The pass ``share_weights``."""

    options = ShareOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights", "sparse-2-4"})
    ensures: frozenset[Trait] = frozenset({"shared-weights"})
    gain: Gain = "size"
    needs_data = True

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: ShareOptions, context: Context) -> PassResult:
        if not any(_proposals(layer) for layer in network.layers):
            return unchanged(network, "no layer has enough weights to share them")
        samples = context.data()
        few = context.probes(network)
        reference = record_reference(network, few, context.engine, is_classifier=context.is_classifier)
        offers = measure_offers(network, _proposals, samples, reference, context.engine, lambda share, note: context.progress(0.5 * share, note))
        limit = 4 * network.params / options.ratio - _overhead(network)
        picked = select([[Option(_CODER_LOSS * o.coded_bytes, entry.damage(o)) for o in entry.offers[1:]] for entry in offers], limit)
        if picked is None:
            least = sum(min(o.coded_bytes for o in entry.offers[1:]) for entry in offers) + _overhead(network)
            message = f"{options.ratio:g} times smaller cannot be reached by sharing weights: {4 * network.params / least:.1f} times can"
            raise Rejected("ratio-unreachable", message, "Ask for less, or prune before")
        plan = {entry.layer.name: entry.offers[1 + index].choice for entry, index in zip(offers, picked, strict=True)}
        rebuilt = rebuild(
            network,
            {name: choice for name, choice in plan.items() if choice is not None},
            samples,
            context.engine,
            repair=context.repair,
            progress=lambda share, note: context.progress(0.5 + 0.5 * share, note),
        )
        _round_biases(rebuilt.model)
        made = Network(rebuilt.model)
        changes = tuple(
            Change(layer.name, f"{len(np.unique(made.weight(layer)))} values", rebuilt.errors.get(layer.name))
            for layer in made.layers
            if layer.name in plan
        )
        return PassResult(rebuilt.model, modified=True, changes=changes)


def _proposals(layer: Layer) -> list[tuple[Form, tuple[Rank, ...]]]:
    if FORM.refusal(layer) is not None:
        return []
    return [(FORM, tuple((fineness,) for fineness in FINENESS))]


def _overhead(network: Network) -> float:
    """Bytes of everything but the layers' weights, as the codec will write it."""
    weights = sum(layer.geometry.params for layer in network.layers if FORM.refusal(layer) is None)
    return 2.0 * (network.params - weights) + _BYTES_PER_LAYER * len(network.layers) + _BYTES_ONCE


def _round_biases(model: Any) -> None:
    """Vectors of the graph to values that float16 has, where they lie in its range."""
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim == 1 and value.size > 1 and np.abs(value).max() < 60000:
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16).astype(np.float32), tensor.name))


PASS = ShareWeights()
