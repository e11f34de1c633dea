"""What each way to change a layer would cost the network, measured: the layer's own error from its normal equations, and how far the outputs
move when that layer alone is changed.

    damage of an option = (damage of the outputs ÷ error of the layer, measured for one option) × error of this option

The layer's error of every option comes from one pass over the samples; only one option per layer is built and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from .activations import Engine, Frontier
from .base import Stopwatch
from .fidelity import Reference
from .forms._base import Fitted, Form, Rank, form_macs
from .forms.shared import coded_bits
from .moments import Moments, Normal
from .network import Geometry, Layer, Network, chain_macs
from .repair.rebuild import Choice, matrix_of
from .repair.rows import own_rows
from .samples import Samples
from .surgery import replace_layer
from .timing import chain_model, is_worth_it

Progress = Callable[[float, str], None]
Proposal = tuple[Form, tuple[Rank, ...]]
# The option that is built to measure a layer's sensitivity errs about this much: little enough to be in the linear range.
_PROBE_ERROR = 0.02


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to write `layer`: what it costs and how it errs on the layer's own outputs. `choice` None = as it is."""

    choice: Choice | None
    macs: int
    coded_bytes: float
    error: float


@dataclass(frozen=True, slots=True)
class Offers:
    """All offers for a layer, the layer as it is first, and how much the outputs suffer per error of the layer."""

    layer: Layer
    offers: tuple[Offer, ...]
    sensitivity: float

    def damage(self, offer: Offer) -> float:
        return offer.error * self.sensitivity


def measure_offers(
    network: Network,
    propose: Callable[[Layer], Sequence[Proposal]],
    samples: Samples,
    reference: Reference,
    engine: Engine,
    progress: Progress,
) -> tuple[Offers, ...]:
    """The offers of every layer that `propose` has something for."""
    proposals = {layer.name: tuple(propose(layer)) for layer in network.layers}
    layers = [layer for layer in network.layers if proposals[layer.name]]
    frontier = Frontier(network.model, samples, engine)
    found = []
    for index, layer in enumerate(layers):
        progress(index / len(layers), f"weighing {layer.name}")
        moments = own_rows(frontier, layer, samples)
        frontier.forget({later.source for later in layers[index + 1 :]})
        found.append(_offers(network, layer, proposals[layer.name], moments, reference, engine))
    return tuple(found)


def _offers(network: Network, layer: Layer, proposals: Sequence[Proposal], moments: Moments, reference: Reference, engine: Engine) -> Offers:
    weight = matrix_of(network, layer)
    normal = Normal.of_weights(moments.spent().with_prior(weight), weight)
    offers = [Offer(None, layer.macs, 4.0 * layer.geometry.params, 0.0)]
    probe: tuple[float, Fitted] | None = None
    for form, ranks in proposals:
        for rank, fitted in zip(ranks, form.fit(layer, ranks, normal, weight), strict=True):
            error = normal.error(fitted.weight)
            chain = form.chain(layer, rank)
            size = sum(coded_bits(piece.weight) for piece in fitted.pieces) / 8
            offers.append(Offer(Choice(form, rank), chain_macs(chain, layer.size), size, error))
            if probe is None or abs(error - _PROBE_ERROR) < abs(probe[0] - _PROBE_ERROR):
                probe = (error, fitted)
    assert probe is not None
    return Offers(layer, tuple(offers), _damage(network, layer, probe[1], normal, reference, engine) / max(probe[0], 1e-9))


def _damage(network: Network, layer: Layer, fitted: Fitted, normal: Normal, reference: Reference, engine: Engine) -> float:
    """Of the outputs, when `fitted` alone replaces `layer`."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    bias = normal.bias(fitted.weight)
    own = network.bias(layer)
    replace_layer(model, layer, fitted.pieces, bias if own is None else bias + own)
    return reference.damage(model, engine)


def sensitivities(offers: Sequence[Offers]) -> Mapping[str, float]:
    return {entry.layer.name: entry.sensitivity for entry in offers}


def proposals_of(forms: Sequence[Form], layer: Layer, step: int) -> list[Proposal]:
    """Every rank of every form that `layer` can take and that saves MACs."""
    found: list[Proposal] = []
    for form in forms:
        if form.refusal(layer) is None:
            ranks = tuple(rank for rank in form.ranks(layer, step) if form_macs(form, layer, rank) < layer.macs)
            found += [(form, ranks)] if ranks else []
    return found


def model_copy(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def worthwhile(network: Network, every: Sequence[Offers], stopwatch: Stopwatch) -> tuple[Offers, ...]:
    """Only the offers that run as much faster here, alone, as their MACs promise; equal shapes are timed once."""
    opset = next(entry.version for entry in network.model.opset_import if entry.domain in {"", "ai.onnx"})
    known: dict[tuple[tuple[Geometry, ...], tuple[int, ...]], float] = {}

    def ms(layer: Layer, chain: tuple[Geometry, ...]) -> float:
        key = (chain, layer.size)
        if key not in known:
            known[key] = stopwatch.ms(chain_model(layer, chain, opset))
        return known[key]

    found = []
    for entry in every:
        own = ms(entry.layer, (entry.layer.geometry,))
        kept = [entry.offers[0]]
        for offer in _front(entry.offers[1:]):
            assert offer.choice is not None
            chain = offer.choice.form.chain(entry.layer, offer.choice.rank)
            if is_worth_it(offer.macs / entry.layer.macs, ms(entry.layer, chain) / own):
                kept.append(offer)
        found.append(Offers(entry.layer, tuple(kept), entry.sensitivity))
    return tuple(found)


def _front(offers: Sequence[Offer]) -> list[Offer]:
    """The offers of each form that no other of that form beats in MACs and error at once: only those are worth timing."""
    kept: list[Offer] = []
    least: dict[str, float] = {}
    for offer in sorted(offers, key=lambda o: (o.macs, o.error)):
        assert offer.choice is not None
        name = offer.choice.form.name
        if offer.error < least.get(name, float("inf")):
            least[name] = offer.error
            kept.append(offer)
    return kept
