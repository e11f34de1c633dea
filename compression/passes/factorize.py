"""Layers written as chains of smaller ones: SVD for 1×1 and matrices, Tucker-2 and k×1·1×k for kernels, all in the metric of the data.

Which layers, which form and which rank: the set that moves the outputs least for the MACs allowed, from measured sensitivities. A form that
this runtime does not reward for a layer's shape is not offered (`timing.GAIN`). Then the whole network is rebuilt layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...core.errors import Rejected
from ..base import Change, Context, Gain, PassOptions, PassResult, Trait, unchanged
from ..fidelity import record_reference
from ..forms._base import Form
from ..forms.lowrank import FORM as LOW_RANK
from ..forms.spatial import FORM as SPATIAL
from ..forms.tucker2 import FORM as TUCKER2
from ..network import Network
from ..repair.rebuild import rebuild
from ..select import Option, select
from ..sensitivity import Offer, Offers, measure_offers, proposals_of, worthwhile

FORMS: dict[str, Form] = {"lowrank": LOW_RANK, "tucker2": TUCKER2, "spatial": SPATIAL}


class FactorizeOptions(PassOptions, frozen=True, kw_only=True):
    """`macs_ratio` of the network that shall be left, or `energy`: the share of each layer's output variance that must be kept.

    Ranks are tried in multiples of `step`.
    """

    macs_ratio: float | None = None
    energy: float | None = None
    forms: tuple[Literal["lowrank", "tucker2", "spatial"], ...] = ("lowrank", "tucker2", "spatial")
    step: int = 8

    def __post_init__(self) -> None:
        if (self.macs_ratio is None) == (self.energy is None):
            raise ValueError("give macs_ratio or energy, and not both")
        for name, value in (("macs_ratio", self.macs_ratio), ("energy", self.energy)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} = {value} is out of range: 0 < {name} < 1")
        if not 1 <= self.step <= 256:
            raise ValueError(f"step = {self.step} is out of range 1..256")


class Factorize:
    """The pass ``factorize``."""

    options = FactorizeOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights", "sparse-2-4"})
    ensures: frozenset[Trait] = frozenset()
    gain: Gain = "time"
    needs_data = True

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: FactorizeOptions, context: Context) -> PassResult:
        forms = [FORMS[name] for name in options.forms]
        return factorize(network, forms, options.macs_ratio, options.energy, options.step, context)


def factorize(network: Network, forms: Sequence[Form], macs_ratio: float | None, energy: float | None, step: int, context: Context) -> PassResult:
    """Choose among `forms` and rebuild; also what other passes of the kind do with their own forms."""
    samples = context.data()
    if not any(proposals_of(forms, layer, step) for layer in network.layers):
        return unchanged(network, "no layer can be written smaller: each is too narrow, grouped, or has no known shape")
    few = context.probes(network)
    reference = record_reference(network, few, context.engine, is_classifier=context.is_classifier)
    every = measure_offers(
        network,
        lambda layer: proposals_of(forms, layer, step),
        samples,
        reference,
        context.engine,
        lambda share, note: context.progress(0.5 * share, note),
    )
    offers = every if context.stopwatch is None else worthwhile(network, every, context.stopwatch)
    chosen, notes = _by_energy(offers, energy) if energy is not None else _by_macs(network, offers, macs_ratio or 1.0)
    plan = {entry.layer.name: offer.choice for entry, offer in zip(offers, chosen, strict=True) if offer.choice is not None}
    if not plan:
        return unchanged(network, *notes, "no layer gains anything here by being factorised")
    plain = rebuild(network, plan, samples, context.engine, repair=False, progress=lambda share, note: context.progress(0.5 + 0.2 * share, note))
    rebuilt = plain
    if context.repair:
        rebuilt = rebuild(network, plan, samples, context.engine, progress=lambda share, note: context.progress(0.7 + 0.3 * share, note))
    changes = tuple(Change(name, f"{choice.form.name} {'×'.join(map(str, choice.rank))}", rebuilt.errors[name]) for name, choice in plan.items())
    return PassResult(rebuilt.model, modified=True, unrepaired=plain.model, changes=changes, notes=notes)


def _by_macs(network: Network, offers: Sequence[Offers], macs_ratio: float) -> tuple[list[Offer], tuple[str, ...]]:
    fixed = network.macs - sum(entry.layer.macs for entry in offers)
    limit = macs_ratio * network.macs - fixed
    picked = select([[Option(offer.macs, entry.damage(offer)) for offer in entry.offers] for entry in offers], limit)
    if picked is not None:
        return [entry.offers[index] for entry, index in zip(offers, picked, strict=True)], ()
    least = fixed + sum(min(offer.macs for offer in entry.offers) for entry in offers)
    message = f"{macs_ratio:g} of the MACs cannot be reached by factorising: {least / network.macs:.2f} can"
    raise Rejected("ratio-unreachable", message, f"Ask for at least {least / network.macs:.2f}, or add another pass")


def _by_energy(offers: Sequence[Offers], energy: float) -> tuple[list[Offer], tuple[str, ...]]:
    """Each layer's cheapest offer that keeps `energy`."""
    return [min((o for o in entry.offers if o.error <= 1 - energy), key=lambda o: (o.macs, o.error)) for entry in offers], ()


PASS = Factorize()
