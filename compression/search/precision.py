"""Float as a choice of single layers of a quantised network: which may be it, and how much less damage each then does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...calibration.graph import Graph
from ...calibration.plan import plan_for_onnxruntime
from ...calibration.table import RangeTable
from ...calibration.uncalibrated import in_codes
from ..activations import Engine
from ..base import Progress
from ..fidelity import Reference
from ..network import Network
from .space import Site, Space


@dataclass(frozen=True, slots=True)
class Codes:
    """How the network is quantised that a search begins with: its ranges, and the layers that it leaves in float anyway."""

    ranges: RangeTable
    floats: frozenset[str]


def float_choices(network: Network, codes: Codes) -> tuple[str, ...]:
    """The layers that are quantised, and might be left in float instead; nothing when only one is."""
    quantised = [layer.node for layer in plan_for_onnxruntime(Graph(network.model), codes.floats).layers]
    known = {layer.name for layer in network.layers}
    return tuple(name for name in quantised if name in known) if len(quantised) > 1 else ()


def float_gains(
    network: Network, codes: Codes, reference: Reference, engine: Engine, progress: Progress, is_time_up: Callable[[], bool]
) -> Mapping[str, float]:
    """By layer, the damage that float instead of codes takes away; those that no time was left for take away none."""
    names = float_choices(network, codes)
    gains = dict.fromkeys(names, 0.0)
    whole = in_codes(network.model, codes.floats, codes.ranges)
    if whole is None:
        return gains
    damage = reference.damage(whole, engine)
    for index, name in enumerate(names):
        if is_time_up():
            break
        progress(index / len(names), f"weighing {name} in float")
        mixed = in_codes(network.model, codes.floats | {name}, codes.ranges)
        if mixed is not None:
            gains[name] = max(0.0, damage - reference.damage(mixed, engine))
    return gains


def offering_float(space: Space, gains: Mapping[str, float]) -> Space:
    """`space` in which the layers of `gains` may be left in float."""
    known = {site.layer.name for site in space.sites}
    sites = [replace(site, float_gain=gains.get(site.layer.name)) for site in space.sites]
    sites += [Site(layer, (), (), gains[layer.name]) for layer in space.network.layers if layer.name in gains and layer.name not in known]
    return replace(space, sites=tuple(sites))
