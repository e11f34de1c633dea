"""k×k into few channels, then 1×1: reduced-rank regression. For 1×1 layers and matrix products it is the SVD in the metric of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Rank, is_dense, output_directions, plain, widths


class LowRank:
    """The `Form`; its rank is the number of channels between the pieces."""

    name = "lowrank"

    def refusal(self, layer: Layer) -> str | None:
        if not self.ranks(layer, 1):
            return "it is too narrow to be factorised"
        return is_dense(layer)

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        geometry = layer.geometry
        limit = -(-geometry.params // (geometry.fan_in + geometry.channels_out))
        return tuple((width,) for width in widths(limit, step, 16))

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        g = layer.geometry
        return Geometry(g.channels_in, rank[0], 1, g.kernel, g.strides, g.dilations, g.pads), plain(rank[0], g.channels_out, layer)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        directions = output_directions(normal.xx[0], weight[0])
        for rank in ranks:
            second = directions[:, : rank[0]]
            first = second.T @ weight[0]
            chain = self.chain(layer, rank)
            pieces = (
                Piece(chain[0], first.reshape(rank[0], chain[0].channels_in, *chain[0].kernel)),
                Piece(chain[1], second.reshape(chain[1].channels_out, rank[0], *chain[1].kernel)),
            )
            yield Fitted(pieces, (second @ first)[None])


FORM = LowRank()
