"""Structured pruning: whole channels, over everything that is coupled to them, chosen by how well the layers that read them can do without.

1. Every layer that reads channels: its inputs' covariance, and by one probe how much the outputs suffer per error of the layer.
2. Greedily, in the runtime's steps: the channels whose loss costs least per MAC saved, the readers re-solved each time (`thinning`).
3. The thinned network is rebuilt layer by layer towards the original's activations.
"""

from __future__ import annotations

from dataclasses import replace

from ...core.errors import Rejected
from ..activations import Frontier
from ..base import Change, ChannelOptions, Context, Gain, PassResult, Trait, unchanged
from ..coupling import couple
from ..fidelity import record_reference
from ..moments import Normal
from ..network import Network
from ..repair.rebuild import matrix_of, rebuild
from ..repair.rows import own_rows
from ..step import channel_step
from ..surgery import cut_channels, with_weights
from ..thinning import Reader, Thinning

_PROBE_SHARE = 0.25


class PruneChannels:
    """The pass ``prune_channels``."""

    options = ChannelOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights", "sparse-2-4"})
    ensures: frozenset[Trait] = frozenset()
    gain: Gain = "time"
    needs_data = True

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: ChannelOptions, context: Context) -> PassResult:
        coupling = couple(network)
        if not coupling.groups:
            return unchanged(network, "no channels can be removed: all of them reach an output, a reshape or something that is not understood")
        samples = context.data()
        readers = _readers(network, context)
        thinning = Thinning(network, coupling, readers, options.step or channel_step())
        before = network.macs
        left = thinning.thin(options.macs_ratio * before)
        if left > options.macs_ratio * before:
            message = f"{options.macs_ratio:g} of the MACs cannot be reached by pruning channels: {left / before:.2f} can"
            raise Rejected("ratio-unreachable", message, f"Ask for at least {left / before:.2f}, or add another pass")
        kept = coupling.kept(frozenset(thinning.removed))
        start = Network(cut_channels(network, kept, {name: reader.weight for name, reader in readers.items()}))
        del readers, thinning  # their covariances take as much memory as the fit will
        context.progress(0.5, "fitting what is left")
        rebuilt = start.model
        if context.repair:
            rebuilt = rebuild(
                network,
                {},
                samples,
                context.engine,
                start=start,
                kept=kept,
                progress=lambda share, note: context.progress(0.5 + 0.5 * share, note),
            ).model
        changes = tuple(
            Change(layer.name, f"{len(kept[layer.output])} of {layer.geometry.channels_out} channels")
            for layer in network.layers
            if layer.output in kept
        )
        return PassResult(rebuilt, modified=True, unrepaired=start.model, changes=changes)


def _readers(network: Network, context: Context) -> dict[str, Reader]:
    samples = context.data()
    few = context.probes(network)
    reference = record_reference(network, few, context.engine, is_classifier=context.is_classifier)
    layers = [layer for layer in network.layers if layer.geometry.groups == 1]
    frontier = Frontier(network.model, samples, context.engine)
    readers = {}
    for index, layer in enumerate(layers):
        context.progress(0.5 * index / len(layers), f"weighing {layer.name}")
        moments = own_rows(frontier, layer, samples)
        frontier.forget({later.source for later in layers[index + 1 :]})
        weight = matrix_of(network, layer)
        normal = Normal.of_weights(moments.spent().with_prior(weight), weight)
        reader = Reader.of(layer, weight[0], normal)
        probe = replace(reader, weight=reader.weight.copy(), inverse=reader.inverse.copy())
        channels = layer.geometry.channels_in
        if channels > 1:
            probe.remove(probe.damages().argsort()[: max(1, int(channels * _PROBE_SHARE))])
            error = normal.error(probe.weight[None])
            model = with_weights(network, layer, probe.weight, normal.bias(probe.weight[None]))
            reader.sensitivity = reference.damage(model, context.engine) / max(error, 1e-9)
        readers[layer.name] = reader
    return readers


PASS = PruneChannels()
