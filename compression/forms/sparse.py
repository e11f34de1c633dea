"""2:4: of every four input channels in a row two weights stay, for each output and tap; the others make good for them, in second-order order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ..traits import can_be_2_4
from ._base import Fitted, Piece, Rank

_DAMPING = 1e-3


class Sparse:
    """The `Form`: the layer's own geometry with half of its weights zero, in the pattern that sparse tensor cores take."""

    name = "sparse"

    def refusal(self, layer: Layer) -> str | None:
        geometry = layer.geometry
        return None if can_be_2_4(geometry.channels_in, geometry.groups) else "its input channels do not come in fours, or it is grouped"

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        del layer, step
        return ((),)

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        del rank
        return (layer.geometry,)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        g = layer.geometry
        for _ in ranks:
            pruned = halve(normal.xx[0] + _DAMPING * normal.scale * np.eye(g.fan_in), weight[0], g.channels_in, g.taps)
            yield Fitted((Piece(g, pruned.reshape(g.channels_out, g.channels_in, *g.kernel)),), pruned[None])


def halve(covariance: Doubles, weight: Doubles, channels: int, taps: int) -> Doubles:
    """`weight` (out × channels·taps) in 2:4: in each four the two go whose loss the columns that follow can best make good."""
    columns = np.arange(channels * taps).reshape(channels // 4, 4, taps).transpose(0, 2, 1).reshape(-1)
    inverse = np.linalg.inv(covariance[np.ix_(columns, columns)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    work = weight[:, columns].copy()
    for start in range(0, len(columns), 4):
        four = slice(start, start + 4)
        losses = np.square(work[:, four] / np.diagonal(factor)[four])
        gone = np.zeros(losses.shape, bool)
        np.put_along_axis(gone, np.argsort(losses, axis=1)[:, :2], values=True, axis=1)
        for column in range(start, start + 4):
            error = np.where(gone[:, column - start], work[:, column], 0.0) / factor[column, column]
            work[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
            work[gone[:, column - start], column] = 0.0
    result: Doubles = np.empty_like(work)
    result[:, columns] = work
    return result


FORM = Sparse()
