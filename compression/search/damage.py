"""What every choice would do to the outputs, measured on the calibration samples: each form and each width alone, closed-form repair included.

One walk through the network: the covariance of each layer's inputs tells the error of each form, and of losing channels (`thinning`), as a share
of the layer's output; one probe per layer tells how far the outputs move per error of the layer. Damages are taken to add up; whole networks that
were built correct that (`predict`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from ..activations import Engine, Frontier
from ..base import Progress
from ..coupling import ChannelGroup, Coupling, couple
from ..fidelity import Reference
from ..forms._base import Form as FormKind
from ..forms._base import Piece, Rank
from ..forms.cp import FORM as CP
from ..forms.depthwise import FORM as DEPTHWISE
from ..forms.lowrank import FORM as LOW_RANK
from ..forms.sparse import FORM as SPARSE
from ..forms.spatial import FORM as SPATIAL
from ..forms.tucker2 import FORM as TUCKER2
from ..moments import Normal
from ..network import Layer, Network, chain_macs
from ..repair.rebuild import Choice, matrix_of
from ..repair.rows import own_rows
from ..samples import Samples
from ..step import channel_step
from ..surgery import replace_layer
from ..thinning import Reader, Thinning
from .space import MAX_GROUPS_OF_A_SITE, MAX_LEVELS, Form, Space, Width, sites_of

FORMS: tuple[FormKind, ...] = (LOW_RANK, TUCKER2, SPATIAL, DEPTHWISE, CP)
# Of use only to a runtime whose kernels skip zeros.
SPARSE_FORMS: tuple[FormKind, ...] = (*FORMS, SPARSE)
MAX_RANKS_OF_A_KIND = 4
# What errs more is no stand-in, whatever it saves.
MAX_ERROR = 0.3
_PROBE_ERROR = 0.02
_PROBE_SHARE = 0.25
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Weighed:
    """One layer: its forms with their errors, the equations of what it reads, and the damage of the outputs per error."""

    layer: Layer
    reader: Reader
    normal: Normal
    forms: tuple[tuple[Choice, float], ...]
    sensitivity: float


def explore(network: Network, samples: Samples, reference: Reference, engine: Engine, progress: Progress, kinds: Sequence[FormKind] = FORMS) -> Space:
    """The space of `network` with all its damages; layers may take the forms `kinds`."""
    coupling = couple(network)
    layers = [layer for layer in network.layers if layer.geometry.groups == 1]
    frontier = Frontier(network.model, samples, engine)
    weighed: dict[str, Weighed] = {}
    for index, layer in enumerate(layers):
        progress(0.8 * index / len(layers), f"weighing {layer.name}")
        source = own_rows(frontier, layer, samples).normal()
        frontier.forget({later.source for later in layers[index + 1 :]})
        weighed[layer.name] = _weighed(network, layer, source, reference, engine, kinds)
    progress(0.8, "weighing channels")
    groups = _groups(network, coupling)
    widths = []
    for index, group in enumerate(groups):
        progress(0.8 + 0.2 * index / len(groups), f"weighing the channels of {group.makers[0]}")
        width = _width(network, coupling, group, weighed)
        widths += [width] if width is not None else []
    forms = {name: tuple(Form(choice, error * entry.sensitivity) for choice, error in entry.forms) for name, entry in weighed.items() if entry.forms}
    return Space(network, coupling, tuple(widths), sites_of(network, coupling, widths, forms))


def _weighed(network: Network, layer: Layer, source: Normal, reference: Reference, engine: Engine, kinds: Sequence[FormKind]) -> Weighed:
    weight = matrix_of(network, layer)
    normal = Normal.of_weights(source.with_prior(weight), weight)
    probe = _Probe(network, layer, normal, reference, engine)
    reader = Reader.of(layer, weight[0], normal)
    forms: list[tuple[Choice, float]] = []
    for kind in kinds:
        if kind.refusal(layer) is None:
            ranks = _spread(
                [rank for rank in kind.ranks(layer, _form_step()) if kind is SPARSE or chain_macs(kind.chain(layer, rank), layer.size) < layer.macs]
            )
            own = []
            for rank, fitted in zip(ranks, kind.fit(layer, ranks, normal, weight), strict=True):
                error = normal.error(fitted.weight)
                probe.offer(error, fitted.pieces, fitted.weight)
                own.append((Choice(kind, rank), error))
            forms += _front(layer, own)
    if layer.geometry.channels_in > 1:
        thinner = _copy(reader)
        thinner.remove(thinner.damages().argsort()[: max(1, int(layer.geometry.channels_in * _PROBE_SHARE))])
        whole = thinner.weight[None]
        probe.offer(normal.error(whole), (Piece(layer.geometry, whole.reshape(network.weight(layer).shape)),), whole)
    sensitivity = probe.sensitivity()
    return Weighed(layer, replace(reader, sensitivity=sensitivity), normal, tuple(forms), sensitivity)


@dataclass(slots=True)
class _Probe:
    """Changes one layer alone, by about `_PROBE_ERROR`, and sees how far the outputs move."""

    network: Network
    layer: Layer
    normal: Normal
    reference: Reference
    engine: Engine
    best: tuple[float, Sequence[Piece], Any] | None = None

    def offer(self, error: float, pieces: Sequence[Piece], weight: Any) -> None:
        if self.best is None or abs(error - _PROBE_ERROR) < abs(self.best[0] - _PROBE_ERROR):
            self.best = error, pieces, weight

    def sensitivity(self) -> float:
        if self.best is None:
            return 0.0
        error, pieces, weight = self.best
        model = onnx.ModelProto()
        model.CopyFrom(self.network.model)
        own, bias = self.network.bias(self.layer), self.normal.bias(weight)
        replace_layer(model, self.layer, pieces, bias if own is None else bias + own)
        return self.reference.damage(model, self.engine) / max(error, 1e-9)


def _front(layer: Layer, offers: Sequence[tuple[Choice, float]]) -> list[tuple[Choice, float]]:
    """The offers of one kind that no other beats in MACs and error."""
    kept: list[tuple[Choice, float]] = []
    least = MAX_ERROR
    for choice, error in sorted(offers, key=lambda offer: (chain_macs(offer[0].form.chain(layer, offer[0].rank), layer.size), offer[1])):
        if error < least:
            least = error
            kept.append((choice, error))
    return kept


def _spread(ranks: Sequence[Rank]) -> tuple[Rank, ...]:
    """A few of `ranks`, evenly spread: each costs a fit here and a measurement later."""
    if len(ranks) <= MAX_RANKS_OF_A_KIND:
        return tuple(ranks)
    return tuple(ranks[round(i * (len(ranks) - 1) / (MAX_RANKS_OF_A_KIND - 1))] for i in range(MAX_RANKS_OF_A_KIND))


def _groups(network: Network, coupling: Coupling) -> tuple[ChannelGroup, ...]:
    """The groups whose layers touch few enough others to be timed at every width."""
    found = []
    for group in coupling.groups:
        own = set(group.bundles)
        if all(_touched(coupling, layer, own) <= MAX_GROUPS_OF_A_SITE for layer in network.layers):
            found.append(group)
    return tuple(found)


def _touched(coupling: Coupling, layer: Layer, own: set[int]) -> int:
    """How many groups `layer` reads and makes, when it has to do with `own`; else none."""
    nothing = np.empty(0, np.intp)
    ids = set(coupling.ids.get(layer.source, nothing).tolist()) | set(coupling.ids.get(layer.output, nothing).tolist())
    return sum(1 for group in coupling.groups if ids.intersection(group.bundles)) if ids & own else 0


def _width(network: Network, coupling: Coupling, group: ChannelGroup, weighed: Mapping[str, Weighed]) -> Width | None:
    """The levels of `group`, each the cheapest channels to lose after those of the level before."""
    own = set(group.bundles)
    readers = {
        name: _copy(entry.reader) for name, entry in weighed.items() if own.intersection(coupling.ids.get(entry.layer.source, np.empty(0)).tolist())
    }
    if not readers:
        return None
    thinning = Thinning(network, Coupling(coupling.ids, (group,)), readers, channel_step())
    levels: list[tuple[int, ...]] = [()]
    damages = [0.0]
    while len(thinning.removed) < (1 - _LEAST_SHARE) * len(group.bundles):
        before = len(thinning.removed)
        thinning.thin(thinning.macs(frozenset()) - 1)
        if len(thinning.removed) == before:
            break
        levels.append(tuple(sorted(thinning.removed)))
        damages.append(sum(reader.sensitivity * weighed[name].normal.error(reader.weight[None]) for name, reader in readers.items()))
    if len(levels) == 1:
        return None
    picked = sorted({round(i * (len(levels) - 1) / (MAX_LEVELS - 1)) for i in range(MAX_LEVELS)})
    return Width(group.makers, tuple(levels[i] for i in picked), tuple(damages[i] for i in picked))


def _copy(reader: Reader) -> Reader:
    return replace(reader, weight=reader.weight.copy(), inverse=reader.inverse.copy())


def _form_step() -> int:
    return max(channel_step() // 2, 1)
