"""k×1, then 1×k: a two-dimensional kernel as two one-dimensional ones, in the metric of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Rank, expand, form_macs, is_dense, project, projection, widths


class Spatial:
    """The `Form`; its rank is the number of channels between the pieces."""

    name = "spatial"

    def refusal(self, layer: Layer) -> str | None:
        kernel = layer.geometry.kernel
        if len(kernel) != 2 or min(kernel) == 1:
            return "its kernel does not span two axes"
        return is_dense(layer) or (None if self.ranks(layer, 1) else "it is too narrow to be factorised")

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        geometry = layer.geometry
        limit = geometry.params // (geometry.channels_in * geometry.kernel[0] + geometry.channels_out * geometry.kernel[1]) + 1
        return tuple(
            (width,)
            for width in widths(min(limit, geometry.channels_in * geometry.kernel[0]) + 1, step, 12)
            if form_macs(self, layer, (width,)) < layer.macs
        )

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        g = layer.geometry
        (high, wide), (down, across), (apart, aside), (top, left, bottom, right) = g.kernel, g.strides, g.dilations, g.pads
        first = Geometry(g.channels_in, rank[0], 1, (high, 1), (down, 1), (apart, 1), (top, 0, bottom, 0))
        return first, Geometry(rank[0], g.channels_out, 1, (1, wide), (1, across), (1, aside), (0, left, 0, right))

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        g = layer.geometry
        high, wide = g.kernel
        rows = g.channels_in * high
        by_column = normal.xx[0].reshape(rows, wide, rows, wide)
        kernel = weight[0].reshape(g.channels_out, rows, wide)
        importance = np.tensordot(kernel, kernel, axes=((0, 2), (0, 2)))
        columns = projection(np.einsum("ajbj->ab", by_column) / wide, importance)
        equations = project(normal, weight[0], columns, wide)
        for rank in ranks:
            width = rank[0]
            out = equations.map_of(width * wide)
            chain = self.chain(layer, rank)
            pieces = (
                Piece(chain[0], columns.into[:width].reshape(width, g.channels_in, high, 1)),
                Piece(chain[1], out.reshape(g.channels_out, width, 1, wide)),
            )
            yield Fitted(pieces, expand(out, columns.into[:width], wide)[None])


FORM = Spatial()
