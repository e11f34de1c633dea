"""The layer as it is, with its weights re-solved: what repair does to layers that no pass changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Rank


class Keep:
    """The `Form` that changes no structure."""

    name = "keep"

    def refusal(self, layer: Layer) -> str | None:
        del layer
        return None

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        del layer, step
        return ((),)

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        del rank
        return (layer.geometry,)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        del normal
        g = layer.geometry
        for _ in ranks:
            yield Fitted((Piece(g, weight.reshape(g.channels_out, g.channels_in // g.groups, *g.kernel)),), weight)


FORM = Keep()
