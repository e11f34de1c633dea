"""The seam of forms: what a layer may be replaced by, what that costs, and how it is fitted to the layer's data.

Fitting sees the layer's normal equations and the weights that solve them; it returns pieces that follow each other, and the one linear map that
they make together, so that every form's error is judged by the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer, chain_macs

Rank = tuple[int, ...]
_FLOOR = 1e-7


@dataclass(frozen=True, slots=True)
class Piece:
    """One small layer: weights as out × in/groups × kernel."""

    geometry: Geometry
    weight: Doubles


@dataclass(frozen=True, slots=True)
class Fitted:
    """Pieces in order, and what they do together: groups × out × fan-in of the layer that they replace."""

    pieces: tuple[Piece, ...]
    weight: Doubles


class Form(Protocol):
    """One way to write a layer smaller."""

    name: str

    def refusal(self, layer: Layer) -> str | None:
        """None when the layer can take this form; else why not."""
        ...

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        """The ranks worth trying, in multiples of `step` where the layer is wide enough; ascending in cost."""
        ...

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        """The geometry of the pieces."""
        ...

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        """For each of `ranks` the pieces closest to `weight` (groups × out × fan-in) on the layer's data; what ranks share is computed once."""
        ...


def form_macs(form: Form, layer: Layer, rank: Rank) -> int:
    return chain_macs(form.chain(layer, rank), layer.size)


def widths(limit: int, step: int, most: int) -> tuple[int, ...]:
    """Multiples of `step` below `limit`, at most `most` of them, evenly spread; a narrow layer is cut in halves of the step."""
    while step > 1 and limit // step < 6:
        step //= 2
    found = list(range(step, limit, step))
    if len(found) <= most:
        return tuple(found)
    return tuple(sorted({found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)}))


def plain(channels_in: int, channels_out: int, layer: Layer) -> Geometry:
    """A pointwise piece of as many axes as the layer has."""
    axes = len(layer.geometry.kernel)
    return Geometry(channels_in, channels_out, 1, (1,) * axes, (1,) * axes, (1,) * axes, (0,) * (2 * axes))


@dataclass(frozen=True, slots=True)
class Projection:
    """P and Q (n × n) so that the first r rows of P and columns of Q make QPx the best stand-in of rank r for x, at every r."""

    into: Doubles
    back: Doubles


def projection(covariance: Doubles, importance: Doubles) -> Projection:
    """For x of this `covariance`, the error weighed by `importance` (n × n): the subspaces of C½·M·C½, carried back by C∓½."""
    values, vectors = np.linalg.eigh(covariance)
    roots = np.sqrt(np.maximum(values, _FLOOR * max(float(values[-1]), 1e-12)))
    root = (vectors * roots) @ vectors.T
    inverse = (vectors / roots) @ vectors.T
    _, directions = np.linalg.eigh(root @ importance @ root)
    chosen = directions[:, ::-1]
    return Projection(chosen.T @ inverse, root @ chosen)


@dataclass(frozen=True, slots=True)
class Projected:
    """Normal equations of projected inputs z = (P ⊗ I)x, and the old weights as seen from them; a lower rank is a leading block."""

    zz: Doubles
    zt: Doubles
    prior: Doubles

    def map_of(self, width: int, strength: float = 1e-4) -> Doubles:
        """Weights (out × width) from the first `width` features to the targets by least squares, held to the old ones."""
        zz = self.zz[:width, :width].copy()
        ridge = strength * max(float(np.trace(zz)) / width, 1e-12)
        zz[np.diag_indices(width)] += ridge
        solved: Doubles = np.linalg.solve(zz, self.zt[:width] + ridge * self.prior[:, :width].T).T
        return solved


def project(normal: Normal, weight: Doubles, projected: Projection, inner: int) -> Projected:
    """The equations of an ungrouped layer after `projected` was applied to the outer part of its inputs, whose inner part has `inner` values."""
    outer = len(projected.into)
    xx = normal.xx[0].reshape(outer, inner, outer, inner)
    half = np.tensordot(projected.into, xx, axes=(1, 0))
    zz = np.tensordot(half, projected.into, axes=(2, 1)).transpose(0, 1, 3, 2)
    zt = np.tensordot(projected.into, normal.xt[0].reshape(outer, inner, -1), axes=(1, 0))
    prior = np.tensordot(weight.reshape(len(weight), outer, inner), projected.back, axes=(1, 0)).transpose(0, 2, 1)
    return Projected(zz.reshape(outer * inner, -1), zt.reshape(outer * inner, -1), prior.reshape(len(weight), -1))


def expand(map_of: Doubles, into: Doubles, inner: int) -> Doubles:
    """The weights on x of the map (out × features) on (P ⊗ I)x."""
    by_feature = map_of.reshape(len(map_of), len(into), inner)
    expanded: Doubles = np.tensordot(by_feature, into, axes=(1, 0)).transpose(0, 2, 1).reshape(len(map_of), -1)
    return expanded


def output_directions(covariance: Doubles, weight: Doubles) -> Doubles:
    """Columns by which reduced-rank regression keeps the outputs of `weight` (out × features): the first r are the best of rank r."""
    ridge = _FLOOR * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    _, vectors = np.linalg.eigh(weight @ covariance @ weight.T + ridge * (weight @ weight.T))
    directions: Doubles = vectors[:, ::-1]
    return directions


def is_dense(layer: Layer) -> str | None:
    """Why a form for ungrouped layers cannot take this one."""
    return None if layer.geometry.groups == 1 else "it is a grouped convolution"
