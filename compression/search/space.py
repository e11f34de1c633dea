"""The choices that a network has, from the network itself. Pure.

- A `Width` is channels that can only go together (residual sums, concatenations, depthwise groups): how many of them go is one decision.
- A `Site` is a layer: it may take another form while its channels are whole, and it is timed at every width of what it reads and makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from ..coupling import Coupling
from ..network import Geometry, Layer, Network
from ..repair.rebuild import Choice

MAX_LEVELS = 5
# A layer that reads many groups (a long concatenation) has too many combinations of widths to be timed.
MAX_GROUPS_OF_A_SITE = 4
MAX_FLOAT_STATES = 25


@dataclass(frozen=True, slots=True)
class Width:
    """Coupled channels. ``levels[i]`` are the identities that are gone at level i; level 0 removes none. `damages` is what each costs alone."""

    makers: tuple[str, ...]
    levels: tuple[tuple[int, ...], ...]
    damages: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """Another way to write a layer, and the damage of that alone."""

    choice: Choice
    damage: float


@dataclass(frozen=True, slots=True)
class Site:
    """A layer with its choices. `widths` are indices into `Space.widths`; `float_gain` is the damage that float instead of INT8 takes away, None = it
    stays as it is.
    """

    layer: Layer
    widths: tuple[int, ...]
    forms: tuple[Form, ...]
    float_gain: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One state of a site: a level for each of its widths, a form where all are whole, and whether it is in float."""

    levels: tuple[int, ...]
    form: Form | None
    is_float: bool


@dataclass(frozen=True)
class Space:
    """All choices of a network. `channels` are, per tensor, the identities of its channels."""

    network: Network
    coupling: Coupling
    widths: tuple[Width, ...]
    sites: tuple[Site, ...]

    @property
    def plans(self) -> float:
        """How many plans there are."""
        count = float(np.prod([len(width.levels) for width in self.widths]))
        return count * float(np.prod([1.0 + len(site.forms) + (site.float_gain is not None) for site in self.sites]))

    def states(self, site: Site) -> Iterator[State]:
        """Every state of `site`, as it is first. Float is for whole channels alone where there are very many states."""
        combinations = prod(len(self.widths[index].levels) for index in site.widths)
        for levels in product(*(range(len(self.widths[index].levels)) for index in site.widths)):
            yield State(levels, None, is_float=False)
            if site.float_gain is not None and (combinations <= MAX_FLOAT_STATES or not any(levels)):
                yield State(levels, None, is_float=True)
        whole = (0,) * len(site.widths)
        for form in site.forms:
            yield State(whole, form, is_float=False)

    def chain(self, site: Site, state: State) -> tuple[Geometry, ...]:
        """The layers that `site` becomes in `state`."""
        if state.form is not None:
            return state.form.choice.form.chain(site.layer, state.form.choice.rank)
        gone: set[int] = set()
        for index, level in zip(site.widths, state.levels, strict=True):
            gone.update(self.widths[index].levels[level])
        geometry = site.layer.geometry
        into = self._left(site.layer.source, gone, geometry.channels_in)
        out = self._left(site.layer.output, gone, geometry.channels_out)
        groups = 1 if geometry.groups == 1 else into
        return (replace(geometry, channels_in=into, channels_out=out, groups=groups),)

    def removed(self, levels: Mapping[tuple[str, ...], int]) -> frozenset[int]:
        """The identities that are gone when the widths of these makers are at these levels."""
        gone: set[int] = set()
        for width in self.widths:
            gone.update(width.levels[levels.get(width.makers, 0)])
        return frozenset(gone)

    def _left(self, tensor: str, gone: set[int], channels: int) -> int:
        ids = self.coupling.ids.get(tensor)
        if ids is None or not gone:
            return channels
        return int(len(ids) - np.isin(ids, np.fromiter(gone, np.intp)).sum())


def sites_of(network: Network, coupling: Coupling, widths: Sequence[Width], forms: Mapping[str, tuple[Form, ...]]) -> tuple[Site, ...]:
    """Every layer that a width touches or that may take a form."""
    found = []
    for layer in network.layers:
        touched = _touching(layer, coupling, widths)
        if touched or forms.get(layer.name):
            found.append(Site(layer, touched, forms.get(layer.name, ())))
    return tuple(found)


def _touching(layer: Layer, coupling: Coupling, widths: Sequence[Width]) -> tuple[int, ...]:
    ids = np.concatenate([coupling.ids.get(layer.source, np.empty(0, np.intp)), coupling.ids.get(layer.output, np.empty(0, np.intp))])
    own = set(ids.tolist())
    return tuple(index for index, width in enumerate(widths) if own.intersection(width.levels[-1]))
