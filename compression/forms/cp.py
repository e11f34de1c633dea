"""1×1 into a few channels, one k×k filter for each, 1×1 out: the canonical polyadic decomposition of a kernel over (out, in, place).

The factors of inputs and places come from alternating least squares on the kernel, its inputs weighed by their size in the data; the factor of the
outputs is then the least squares solution on the data itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Projected, Rank, form_macs, is_dense, plain, widths

_SWEEPS = 12
_RIDGE = 1e-6


class Cp:
    """The `Form`; its rank is the number of channels between the pieces."""

    name = "cp"

    def refusal(self, layer: Layer) -> str | None:
        if layer.geometry.taps == 1:
            return "its kernel has one tap: lowrank is the same"
        return is_dense(layer) or (None if self.ranks(layer, 1) else "it is too narrow to be factorised")

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        g = layer.geometry
        limit = -(-g.params // (g.channels_in + g.taps + g.channels_out))
        return tuple((width,) for width in widths(limit, step, 12) if form_macs(self, layer, (width,)) < layer.macs)

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        g, (middle,) = layer.geometry, rank
        filters = Geometry(middle, middle, middle, g.kernel, g.strides, g.dilations, g.pads)
        return plain(g.channels_in, middle, layer), filters, plain(middle, g.channels_out, layer)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        g = layer.geometry
        kernel = weight[0].reshape(g.channels_out, g.channels_in, g.taps)
        power = np.diagonal(normal.xx[0]).reshape(g.channels_in, g.taps).mean(1)
        size = np.sqrt(np.maximum(power, _RIDGE * max(float(power.max()), 1e-12)))
        for (rank,) in ranks:
            outputs, inputs, places = _factors(kernel * size[None, :, None], rank)
            inputs = inputs / size[:, None]
            into = (inputs.T[:, :, None] * places.T[:, None, :]).reshape(rank, -1)
            out = Projected(into @ normal.xx[0] @ into.T, into @ normal.xt[0], outputs).map_of(rank)
            chain = self.chain(layer, (rank,))
            pieces = (
                Piece(chain[0], inputs.T.reshape(rank, g.channels_in, *chain[0].kernel)),
                Piece(chain[1], places.T.reshape(rank, 1, *g.kernel)),
                Piece(chain[2], out.reshape(g.channels_out, rank, *chain[2].kernel)),
            )
            yield Fitted(pieces, (out @ into)[None])


def _factors(kernel: Doubles, rank: int) -> tuple[Doubles, Doubles, Doubles]:
    """Factors of outputs, inputs and places, each of `rank` columns, the columns of the last two of length one."""
    rng = np.random.default_rng(0)
    _, channels, taps = kernel.shape
    _, vectors = np.linalg.eigh(np.einsum("ocs,ods->cd", kernel, kernel))
    inputs = np.concatenate([vectors[:, ::-1], rng.standard_normal((channels, rank))], axis=1)[:, :rank]
    places = rng.standard_normal((taps, rank))
    for _ in range(_SWEEPS):
        outputs = _solved(np.einsum("ocs,cr,sr->or", kernel, inputs, places, optimize=True), inputs, places)
        inputs = _unit(_solved(np.einsum("ocs,or,sr->cr", kernel, outputs, places, optimize=True), outputs, places))
        places = _unit(_solved(np.einsum("ocs,or,cr->sr", kernel, outputs, inputs, optimize=True), outputs, inputs))
    return _solved(np.einsum("ocs,cr,sr->or", kernel, inputs, places, optimize=True), inputs, places), inputs, places


def _solved(right: Doubles, one: Doubles, other: Doubles) -> Doubles:
    """The factor that fits best beside two others, of which `right` is the kernel's product with them."""
    gram = (one.T @ one) * (other.T @ other)
    gram[np.diag_indices(len(gram))] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    solved: Doubles = np.linalg.solve(gram, right.T).T
    return solved


def _unit(factor: Doubles) -> Doubles:
    unit: Doubles = factor / np.maximum(np.linalg.norm(factor, axis=0, keepdims=True), 1e-12)
    return unit


FORM = Cp()
