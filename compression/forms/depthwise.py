"""Depthwise k×k, then 1×1: a compressed filter. Each input channel keeps its best `rank` spatial patterns, the 1×1 mixes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Projected, Rank, form_macs, is_dense, plain, projection


class Depthwise:
    """The `Form`; its rank is the number of patterns per input channel. At as many patterns as taps it would be exact."""

    name = "depthwise"

    def refusal(self, layer: Layer) -> str | None:
        if layer.geometry.taps == 1:
            return "its kernel has a single tap"
        if layer.geometry.channels_in == 1:
            return "it has a single input channel"
        return is_dense(layer)

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        del step
        return tuple((rank,) for rank in range(1, layer.geometry.taps) if form_macs(self, layer, (rank,)) < layer.macs)

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        g = layer.geometry
        middle = g.channels_in * rank[0]
        return Geometry(g.channels_in, middle, g.channels_in, g.kernel, g.strides, g.dilations, g.pads), plain(middle, g.channels_out, layer)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        g = layer.geometry
        kernel = weight[0].reshape(g.channels_out, g.channels_in, g.taps)
        by_channel = np.einsum("ctcs->cts", normal.xx[0].reshape(g.channels_in, g.taps, g.channels_in, g.taps))
        patterns = [projection(by_channel[c], kernel[:, c].T @ kernel[:, c]) for c in range(g.channels_in)]
        into = np.stack([entry.into for entry in patterns])  # channel × pattern × tap
        back = np.stack([entry.back for entry in patterns])
        for rank in ranks:
            yield self._fit_one(layer, rank, normal, kernel, into[:, : rank[0]], back[:, :, : rank[0]])

    def _fit_one(self, layer: Layer, rank: Rank, normal: Normal, kernel: Doubles, into: Doubles, back: Doubles) -> Fitted:
        g, middle = layer.geometry, layer.geometry.channels_in * rank[0]
        xx = normal.xx[0].reshape(g.channels_in, g.taps, g.channels_in, g.taps)
        half = np.einsum("cmt,ctds->cmds", into, xx, optimize=True)
        zz = np.einsum("cmds,dns->cmdn", half, into, optimize=True).reshape(middle, middle)
        zt = np.einsum("cmt,cto->cmo", into, normal.xt[0].reshape(g.channels_in, g.taps, -1)).reshape(middle, -1)
        prior = np.einsum("oct,ctm->ocm", kernel, back).reshape(g.channels_out, middle)
        out = Projected(zz, zt, prior).map_of(middle)
        chain = self.chain(layer, rank)
        pieces = (Piece(chain[0], into.reshape(middle, 1, *g.kernel)), Piece(chain[1], out.reshape(g.channels_out, middle, *chain[1].kernel)))
        whole = np.einsum("ocm,cmt->oct", out.reshape(g.channels_out, g.channels_in, rank[0]), into)
        return Fitted(pieces, whole.reshape(1, g.channels_out, -1))


FORM = Depthwise()
