"""Which channels to remove: greedily those whose loss the layers that read them can best make good, per MAC saved.

Each dense layer that reads channels keeps its weights W and the inverse covariance H⁻¹ of its inputs. Removing the columns B of a channel and
re-solving the others by least squares raises the layer's error by exactly

    tr( W_B (H⁻¹_BB)⁻¹ W_Bᵀ )

and both W and H⁻¹ are updated in place (optimal brain surgeon, whole channels at a time), so that later choices know of earlier ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .coupling import ChannelGroup, Coupling
from .moments import Doubles, Normal
from .network import Layer, Network

_DAMPING = 1e-3
_MIN_SHARE = 0.125
_LARGE = 1024
Ints = npt.NDArray[np.intp]


@dataclass(slots=True)
class Reader:
    """A dense layer that reads channels. `sensitivity` is the damage of the outputs per share of error; `worth` weighs the layer's outputs."""

    layer: Layer
    weight: Doubles
    inverse: npt.NDArray[Any]
    power: float
    worth: Doubles
    sensitivity: float = 1.0

    @classmethod
    def of(cls, layer: Layer, weight: Doubles, normal: Normal, worth: Doubles | None = None) -> Reader:
        """`weight` is out × fan-in; `normal` has the targets that it makes; `worth` None = all outputs are worth the same."""
        damped = normal.xx[0].copy()
        damped[np.diag_indices(len(damped))] += _DAMPING * normal.scale
        inverse = np.linalg.inv(damped)
        weights = np.ones(len(weight)) if worth is None else worth
        power = max(float(normal.tt[0] @ weights), 1e-12)
        return cls(layer, weight.copy(), inverse.astype(np.float32) if len(inverse) > _LARGE else inverse, power, weights)

    def part(self, channels: Ints) -> Reader:
        """The same equations as far as `channels` are concerned: what removing some of them costs needs no more."""
        columns = self._columns(channels)
        inverse = self.inverse[np.ix_(columns, columns)]
        return Reader(self.layer, self.weight[:, columns].copy(), inverse, self.power, self.worth, self.sensitivity)

    def damages(self) -> Doubles:
        """The damage of removing each channel alone; zero for those that are gone."""
        taps = self.layer.geometry.taps
        channels = self.weight.shape[1] // taps
        blocks = np.einsum("ctcs->cts", self.inverse.reshape(channels, taps, channels, taps)).astype(np.float64)
        columns = self._weighed().reshape(-1, channels, taps).transpose(1, 2, 0)
        alive = np.einsum("ctt->c", blocks) > 0
        damages = np.zeros(channels)
        if taps == 1:
            # A thousand equations of one unknown each are a division; as matrices they take a hundred times as long.
            damages[alive] = np.square(columns[alive, 0]).sum(1) / blocks[alive, 0, 0]
            return damages * (self.sensitivity / self.power)
        damages[alive] = np.einsum("cto,cto->c", columns[alive], np.linalg.solve(blocks[alive], columns[alive]))
        return damages * (self.sensitivity / self.power)

    def damage(self, channels: Ints) -> float:
        """The damage of removing `channels` together."""
        columns = self._columns(channels)
        block = self.inverse[np.ix_(columns, columns)].astype(np.float64)
        weight = self._weighed()[:, columns].T
        return float(np.einsum("co,co->", weight, np.linalg.solve(block, weight))) * (self.sensitivity / self.power)

    def remove(self, channels: Ints) -> None:
        """Take `channels` out and make the others good for it."""
        columns = self._columns(channels)
        rows = self.inverse[columns]
        factor = np.linalg.solve(rows[:, columns], rows)
        self.weight -= self.weight[:, columns] @ factor
        self.inverse -= rows.T @ factor
        self.weight[:, columns] = 0
        self.inverse[columns] = 0
        self.inverse[:, columns] = 0

    def _weighed(self) -> Doubles:
        weighed: Doubles = self.weight * np.sqrt(self.worth)[:, None]
        return weighed

    def _columns(self, channels: Ints) -> Ints:
        taps = self.layer.geometry.taps
        columns: Ints = (channels[:, None] * taps + np.arange(taps)).ravel()
        return columns


@dataclass(slots=True)
class Thinning:
    """The greedy choice. `readers` by layer name; `step` channels go at a time."""

    network: Network
    coupling: Coupling
    readers: Mapping[str, Reader]
    step: int
    removed: set[int] = field(default_factory=set)
    _steps: dict[tuple[str, ...], tuple[float, tuple[int, ...]]] = field(default_factory=dict)
    # How many channels of each tensor every bundle that is left has.
    _uses: dict[str, Counter[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._uses = {tensor: Counter(ids.tolist()) for tensor, ids in self.coupling.ids.items()}

    def thin(self, limit_macs: float) -> float:
        """Remove channels until the network has at most `limit_macs`, or nothing more may go. Returns the MACs that are left."""
        macs = self.macs(frozenset())
        while macs > limit_macs:
            best = min((offer for group in self.coupling.groups if (offer := self._offer(group, macs)) is not None), default=None)
            if best is None:
                break
            self._take(best[2])
            macs = self.macs(frozenset())
        return macs

    def macs(self, also: frozenset[int]) -> int:
        """MACs when what is removed, and `also` of what is left, is gone."""
        total = 0
        for layer in self.network.layers:
            geometry = layer.geometry
            out = self._alive(layer.output, also, geometry.channels_out)
            into = geometry.channels_in // geometry.groups
            if geometry.groups == 1:
                into = self._alive(layer.source, also, geometry.channels_in)
            total += layer.positions * out * into * geometry.taps
        return total

    def _alive(self, tensor: str, also: frozenset[int], channels: int) -> int:
        counts = self._uses.get(tensor)
        return channels if counts is None else counts.total() - sum(counts[bundle] for bundle in also)

    def _offer(self, group: ChannelGroup, macs: int) -> tuple[float, tuple[str, ...], tuple[int, ...]] | None:
        """Damage per MAC of the cheapest next step of `group`."""
        step = self.step
        while step > 1 and len(group.bundles) // step < 4:
            step //= 2
        alive = [bundle for bundle in group.bundles if bundle not in self.removed]
        if len(alive) - step < max(step, _MIN_SHARE * len(group.bundles)):
            return None
        if group.makers not in self._steps:
            self._steps[group.makers] = self._cheapest_step(group, alive, step)
        damage, chosen = self._steps[group.makers]
        saved = macs - self.macs(frozenset(chosen))
        return (damage / saved, group.makers, chosen) if saved > 0 else None

    def _cheapest_step(self, group: ChannelGroup, alive: Sequence[int], step: int) -> tuple[float, tuple[int, ...]]:
        """Which `step` bundles to remove next, and the damage of all together."""
        index = {bundle: number for number, bundle in enumerate(alive)}
        found = []
        for reader in self.readers.values():
            ids = self.coupling.ids[reader.layer.source]
            positions = np.flatnonzero(np.isin(ids, alive))
            if len(positions):
                found.append((reader, positions, np.array([index[int(i)] for i in ids[positions]], np.intp)))
        is_small = all(len(positions) * reader.layer.geometry.taps <= _LARGE for reader, positions, _ in found)
        chosen = _one_by_one(found, len(alive), step) if is_small else _at_once(found, len(alive), step)
        total = sum(reader.damage(positions[np.isin(owners, chosen)]) for reader, positions, owners in found)
        return total, tuple(sorted(alive[number] for number in chosen))

    def _take(self, bundles: Sequence[int]) -> None:
        self.removed.update(bundles)
        for counts in self._uses.values():
            for bundle in bundles:
                counts.pop(bundle, None)
        touched = set()
        for reader in self.readers.values():
            ids = self.coupling.ids[reader.layer.source]
            positions = np.flatnonzero(np.isin(ids, bundles))
            if len(positions):
                reader.remove(positions)
                touched.update(ids.tolist())
        for group in self.coupling.groups:
            if touched.intersection(group.bundles):
                self._steps.pop(group.makers, None)


Found = Sequence[tuple[Reader, Ints, Ints]]


def _one_by_one(found: Found, count: int, step: int) -> list[int]:
    """The cheapest, then the cheapest of those that are left without it, and so on."""
    parts = [(reader.part(positions), owners) for reader, positions, owners in found]
    chosen: list[int] = []
    for _ in range(step):
        damages = np.zeros(count)
        for part, owners in parts:
            np.add.at(damages, owners, part.damages())
        damages[chosen] = np.inf
        best = int(damages.argmin())
        chosen.append(best)
        for part, owners in parts:
            part.remove(np.flatnonzero(owners == best))
    return chosen


def _at_once(found: Found, count: int, step: int) -> list[int]:
    """The cheapest ones each taken alone: for layers where one after the other would take minutes."""
    damages = np.zeros(count)
    for reader, positions, owners in found:
        np.add.at(damages, owners, reader.damages()[positions])
    return [int(number) for number in damages.argsort()[:step]]
