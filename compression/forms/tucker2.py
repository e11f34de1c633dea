"""1×1 into few channels, k×k among few, 1×1 back: Tucker-2 in the metric of the data.

The input subspace comes from the channels' covariance weighed by what the kernel makes of them; the core is solved by least squares on the
projected inputs, then reduced in rank on its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Projection, Rank, expand, form_macs, is_dense, output_directions, plain, project, projection, widths


class Tucker2:
    """The `Form`; its ranks are the channels into and out of the core."""

    name = "tucker2"

    def refusal(self, layer: Layer) -> str | None:
        if layer.geometry.taps == 1:
            return "its kernel has a single tap: low rank is the same with one piece less"
        return is_dense(layer) or (None if self.ranks(layer, 1) else "it is too narrow to be factorised")

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        geometry = layer.geometry
        most = 5
        inner, outer = (widths(channels + 1, step, most) for channels in (geometry.channels_in, geometry.channels_out))
        pairs = [(a, b) for a in inner for b in outer if abs(a / geometry.channels_in - b / geometry.channels_out) <= 0.26]
        return tuple(sorted((pair for pair in pairs if form_macs(self, layer, pair) < layer.macs), key=lambda pair: form_macs(self, layer, pair)))

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        g = layer.geometry
        core = Geometry(rank[0], rank[1], 1, g.kernel, g.strides, g.dilations, g.pads)
        return plain(g.channels_in, rank[0], layer), core, plain(rank[1], g.channels_out, layer)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        g = layer.geometry
        inputs = input_projection(layer, normal, weight[0])
        equations = project(normal, weight[0], inputs, g.taps)
        cores: dict[int, tuple[Doubles, Doubles]] = {}
        for rank in ranks:
            inner, outer = rank
            width = inner * g.taps
            if inner not in cores:
                core = equations.map_of(width)
                cores[inner] = core, output_directions(equations.zz[:width, :width], core)
            core, directions = cores[inner]
            out = directions[:, :outer]
            middle = out.T @ core
            chain = self.chain(layer, rank)
            pieces = (
                Piece(chain[0], inputs.into[:inner].reshape(inner, g.channels_in, *chain[0].kernel)),
                Piece(chain[1], middle.reshape(outer, inner, *g.kernel)),
                Piece(chain[2], out.reshape(g.channels_out, outer, *chain[2].kernel)),
            )
            yield Fitted(pieces, expand(out @ middle, inputs.into[:inner], g.taps)[None])


def input_projection(layer: Layer, normal: Normal, weight: Doubles) -> Projection:
    """The subspaces of input channels that matter most to `weight` (out × fan-in), averaged over the taps."""
    g = layer.geometry
    by_tap = normal.xx[0].reshape(g.channels_in, g.taps, g.channels_in, g.taps)
    covariance = np.einsum("ctdt->cd", by_tap) / g.taps
    kernel = weight.reshape(g.channels_out, g.channels_in, g.taps)
    return projection(covariance, np.tensordot(kernel, kernel, axes=((0, 2), (0, 2))))


FORM = Tucker2()
