"""Shared weights: every weight of the layer is one of few values, chosen so that they cost few bits and little error.

Entropy-constrained k-means in the order of second-order rounding:
- columns (inputs) are decided one after the other, the loudest first, and each column's error is made good by the columns that follow;
- a weight takes the value that minimises  error² ÷ (what later columns can make good) + λ·bits,  bits from how often the value is used;
- λ follows from the step Δ: the slope of distortion over rate of a uniform step, 2·ln2·Δ²/12;
- a second round uses the first one's centroids as values and its counts as bits. Values are exact in float16.

The rank is how fine: Δ = rms(W)·2^(1 − rank/2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..moments import Doubles, Normal
from ..network import Geometry, Layer
from ._base import Fitted, Piece, Rank

_DAMPING = 1e-3
_BLOCK = 64
_ROUNDS = 2
_REACH = 255
Codes = npt.NDArray[np.intp]


class Shared:
    """The `Form` that changes no structure, only values."""

    name = "shared"

    def refusal(self, layer: Layer) -> str | None:
        return "it has too few weights to share them" if layer.geometry.params < 64 else None

    def ranks(self, layer: Layer, step: int) -> tuple[Rank, ...]:
        del layer, step
        return tuple((fineness,) for fineness in range(1, 13))

    def chain(self, layer: Layer, rank: Rank) -> tuple[Geometry, ...]:
        del rank
        return (layer.geometry,)

    def fit(self, layer: Layer, ranks: Sequence[Rank], normal: Normal, weight: Doubles) -> Iterator[Fitted]:
        rounding = prepare(normal, weight)
        g = layer.geometry
        # Many ranks are weighed against each other, which one round decides as well.
        rounds = _ROUNDS if len(ranks) == 1 else 1
        for rank in ranks:
            shared = share(rounding, weight, rank[0], rounds)
            yield Fitted((Piece(g, shared.reshape(g.channels_out, g.channels_in // g.groups, *g.kernel)),), shared)


@dataclass(frozen=True, slots=True)
class Rounding:
    """The order of columns per group and, in that order, the Cholesky factor of the inverse covariance (upper)."""

    order: Codes
    factor: Doubles


def prepare(normal: Normal, weight: Doubles) -> Rounding:
    groups, width = weight.shape[0], weight.shape[2]
    order = np.argsort(-np.diagonal(normal.xx, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_xx = np.stack([normal.xx[g][np.ix_(order[g], order[g])] for g in range(groups)])
    own = np.trace(sorted_xx, axis1=1, axis2=2) / width
    ridge = np.maximum(_DAMPING * own, 1e-6 * normal.scale)
    inverse = np.linalg.inv(sorted_xx + ridge[:, None, None] * np.eye(width))
    lower = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2)
    return Rounding(order, lower.transpose(0, 2, 1))


def share(rounding: Rounding, weight: Doubles, fineness: int, rounds: int = _ROUNDS) -> Doubles:
    """`weight` (groups × out × columns) with shared values."""
    step = max(float(np.sqrt(np.mean(np.square(weight)))) * 2 ** (1 - fineness / 2), 1e-9)
    reach = min(_REACH, int(np.ceil(np.abs(weight).max() / step)) + 1)
    values = step * np.arange(-reach, reach + 1, dtype=np.float64)
    nearest = np.clip(np.rint(weight / step).astype(np.intp) + reach, 0, 2 * reach)
    bits = _bits(np.bincount(nearest.ravel(), minlength=len(values)))
    sorted_weight = np.take_along_axis(weight, rounding.order[:, None, :], axis=2)
    for _ in range(rounds):
        values = _half(values)
        codes, centroids, counts = _decide(rounding.factor, sorted_weight, values, bits, step)
        used = counts > 0
        chosen = values
        values, bits = centroids[used], _bits(counts[used])
    result = np.empty_like(weight)
    np.put_along_axis(result, np.broadcast_to(rounding.order[:, None, :], weight.shape), chosen[codes], axis=2)
    return result


def _decide(factor: Doubles, weight: Doubles, values: Doubles, bits: Doubles, step: float) -> tuple[Codes, Doubles, npt.NDArray[np.intp]]:
    """Codes of all columns, and of each value the weighted mean of what was mapped to it and how often."""
    work = weight.copy()
    codes = np.zeros(weight.shape, np.intp)
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    worth = 1 / np.square(diagonal)
    price = 2 * np.log(2) * step**2 / 12 * float(np.mean(worth)) * bits
    middles = (values[1:] + values[:-1]) / 2
    sums, weights = np.zeros(len(values)), np.zeros(len(values))
    for start in range(0, weight.shape[2], _BLOCK):
        stop = min(start + _BLOCK, weight.shape[2])
        errors = np.empty((*weight.shape[:2], stop - start))
        for column in range(start, stop):
            value = work[:, :, column]
            code = _cheapest(value, values, middles, price, worth[:, None, column])
            codes[:, :, column] = code
            share_of = np.broadcast_to(worth[:, None, column], value.shape)
            sums += np.bincount(code.ravel(), (value * share_of).ravel(), len(values))
            weights += np.bincount(code.ravel(), share_of.ravel(), len(values))
            error = (value - values[code]) / diagonal[:, None, column]
            errors[:, :, column - start] = error
            work[:, :, column + 1 : stop] -= error[:, :, None] * factor[:, None, column, column + 1 : stop]
        work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    centroids = np.where(weights > 0, sums / np.where(weights > 0, weights, 1), values)
    return codes, centroids, np.bincount(codes.ravel(), minlength=len(values))


def _cheapest(value: Doubles, values: Doubles, middles: Doubles, price: Doubles, worth: Doubles) -> Codes:
    """Of the nearest value and its neighbours the one with the least error and price together."""
    nearest = np.searchsorted(middles, value)
    best, least = nearest, np.square(value - values[nearest]) * worth + price[nearest]
    for shift in (-1, 1):
        other = np.clip(nearest + shift, 0, len(values) - 1)
        cost = np.square(value - values[other]) * worth + price[other]
        best, least = np.where(cost < least, other, best), np.minimum(cost, least)
    return best


def _bits(counts: npt.NDArray[np.intp]) -> Doubles:
    smoothed = counts + 0.1
    bits: Doubles = -np.log2(smoothed / smoothed.sum())
    return bits


def _half(values: Doubles) -> Doubles:
    """The values as float16 has them; still ascending, and zero stays zero."""
    rounded: Doubles = np.unique(np.clip(values, -65504, 65504).astype(np.float16).astype(np.float64))
    if len(rounded) == len(values):
        return rounded
    # Too fine for float16: keep them apart in float32.
    kept: Doubles = values.astype(np.float32).astype(np.float64)
    return kept


def coded_bits(weight: Doubles) -> float:
    """The entropy of the values of `weight`, in bits for all of them, and their table."""
    _, counts = np.unique(weight, return_counts=True)
    share_of = counts / weight.size
    return float(-(counts * np.log2(share_of)).sum()) + 16.0 * len(counts)


FORM = Shared()
