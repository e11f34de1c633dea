"""Streaming normal equations of one layer: what least squares needs to know of the data, in memory bounded by the layer.

For rows x (inputs) and t (targets), per group of a convolution:

    XX = Σ (x − x̄)(x − x̄)ᵀ / n      XT = Σ (x − x̄)(t − t̄)ᵀ / n      TT = Σ (t − t̄)² / n

Weights W minimise Σ ‖t − W x − b‖² + λ·τ·‖W − W₀‖², with τ the mean of XX's diagonal: with few samples or dead channels the solution stays
at the old weights W₀ where the data say nothing. The bias follows from the means: b = t̄ − W x̄.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .network import Floats

Doubles = npt.NDArray[np.float64]
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Above this the factorisations of one layer take seconds each: fewer strengths are tried.
_LARGE = 1500
_BLOCK = 256


@dataclass(slots=True)
class Moments:
    """Sums over rows. Group is the first axis of every array."""

    count: int = 0
    x: Doubles = field(default_factory=lambda: np.zeros(0))
    t: Doubles = field(default_factory=lambda: np.zeros(0))
    xx: Doubles = field(default_factory=lambda: np.zeros(0))
    xt: Doubles = field(default_factory=lambda: np.zeros(0))
    tt: Doubles = field(default_factory=lambda: np.zeros(0))

    def add(self, x: Floats, t: Floats) -> None:
        """`x` rows × groups × fan-in, `t` rows × channels."""
        xs, ts = _by_group(x, t)
        if self.count == 0:
            (groups, _, width), channels = xs.shape, ts.shape[2]
            self.x, self.t, self.tt = np.zeros((groups, width)), np.zeros((groups, channels)), np.zeros((groups, channels))
            self.xx, self.xt = np.zeros((groups, width, width)), np.zeros((groups, width, channels))
        self.x += xs.sum(1, dtype=np.float64)
        self.t += ts.sum(1, dtype=np.float64)
        self.xx += xs.transpose(0, 2, 1) @ xs
        self.xt += xs.transpose(0, 2, 1) @ ts
        self.tt += np.square(ts).sum(1, dtype=np.float64)
        self.count += len(x)

    def normal(self) -> Normal:
        """The centred equations; more rows may follow."""
        return Moments(self.count, self.x, self.t, self.xx.copy(), self.xt.copy(), self.tt).spent()

    def spent(self) -> Normal:
        """The centred equations in the memory of the sums, which are gone: those of a wide layer take hundreds of megabytes."""
        n = self.count
        mean_x, mean_t, tt = self.x / n, self.t / n, self.tt / n
        xx, xt = self.xx, self.xt
        self.count, self.xx, self.xt = 0, np.zeros(0), np.zeros(0)
        return Normal(mean_x, mean_t, _centred(xx, n, mean_x, mean_x), _centred(xt, n, mean_x, mean_t), np.maximum(tt - mean_t**2, 0.0), n)


def _by_group(x: Floats, t: Floats) -> tuple[Floats, Floats]:
    """Rows of inputs and of targets, group by group."""
    targets = t.reshape(len(t), x.shape[1], -1)
    return np.ascontiguousarray(x.transpose(1, 0, 2)), np.ascontiguousarray(targets.transpose(1, 0, 2))


def _centred(products: Doubles, count: int, left: Doubles, right: Doubles) -> Doubles:
    """Sums of products to covariances, in place and without a second matrix of that size."""
    products /= count
    for block in _blocks(products.shape[1]):
        products[:, block] -= left[:, block, None] * right[:, None, :]
    return products


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))


def joined(first: Normal, second: Normal) -> Normal:
    """The equations of both's rows together, in the memory of `first`, which is spent."""
    share = second.count / (first.count + second.count)
    shift_x, shift_t = second.mean_x - first.mean_x, second.mean_t - first.mean_t
    for own, other, shift in ((first.xx, second.xx, shift_x), (first.xt, second.xt, shift_t)):
        for block in _blocks(own.shape[1]):
            own[:, block] *= 1 - share
            own[:, block] += share * other[:, block] + share * (1 - share) * shift_x[:, block, None] * shift[:, None, :]
    tt = (1 - share) * first.tt + share * second.tt + share * (1 - share) * shift_t**2
    means = first.mean_x + share * shift_x, first.mean_t + share * shift_t
    return Normal(*means, first.xx, first.xt, tt, first.count + second.count)


def _raised(matrices: Doubles, by: Doubles | float) -> Doubles:
    """A copy with `by` (one for all, or one per group) added to the diagonals."""
    raised: Doubles = matrices.copy()
    diagonal = np.arange(matrices.shape[1])
    raised[:, diagonal, diagonal] += np.reshape(by, (-1, 1))
    return raised


@dataclass(frozen=True, slots=True)
class Normal:
    """Centred normal equations; arrays as in `Moments`, per row."""

    mean_x: Doubles
    mean_t: Doubles
    xx: Doubles
    xt: Doubles
    tt: Doubles
    count: int

    @property
    def scale(self) -> float:
        """τ: the mean variance of an input; never zero."""
        return max(float(np.diagonal(self.xx, axis1=1, axis2=2).mean()), 1e-12)

    @property
    def power(self) -> float:
        """Σ var(t): what an error is compared with; never zero."""
        return max(float(self.tt.sum()), 1e-12)

    def with_prior(self, prior: Doubles) -> Normal:
        """The equations with as many imagined rows as there are inputs, white, whose targets `prior` makes.

        Where rows are fewer than inputs, covariances alone would promise that anything can be made good.
        """
        groups, width = self.xx.shape[:2]
        share = width / max(self.count, 1)
        level = share * np.maximum(np.trace(self.xx, axis1=1, axis2=2) / width, 1e-9 * self.scale)
        return Normal(
            self.mean_x,
            self.mean_t,
            _raised(self.xx, level),
            self.xt + level[:, None, None] * prior.transpose(0, 2, 1) if self.xt.shape[2] else self.xt,
            self.tt + level[:, None] * np.square(prior).sum(2) if self.tt.shape[1] else np.zeros((groups, 0)),
            self.count,
        )

    def solve(self, prior: Doubles, strength: float) -> Doubles:
        """W (groups × out × fan-in) that minimises the error, held to `prior` with `strength`."""
        ridge = strength * self.scale
        left = _raised(self.xx, ridge)
        right = self.xt + ridge * prior.transpose(0, 2, 1)
        solved: Doubles = np.linalg.solve(left, right).transpose(0, 2, 1)
        return solved

    def with_targets(self, rows: Iterable[tuple[Floats, Floats]]) -> Normal:
        """The equations of the same inputs with other targets: `rows` are all of them again, as `Moments.add` takes them."""
        mean_t, xt, tt = np.zeros_like(self.mean_t), np.zeros_like(self.xt), np.zeros_like(self.tt)
        for x, t in rows:
            xs, ts = _by_group(x, t)
            mean_t += ts.sum(1, dtype=np.float64) / self.count
            xt += xs.transpose(0, 2, 1) @ ts
            tt += np.square(ts).sum(1, dtype=np.float64) / self.count
        return Normal(self.mean_x, mean_t, self.xx, _centred(xt, self.count, self.mean_x, mean_t), np.maximum(tt - mean_t**2, 0.0), self.count)

    def error(self, weight: Doubles) -> float:
        """Mean squared error of `weight` with its best bias, as a share of `power`."""
        along = np.einsum("gdo,god->", self.xt, weight)
        quadratic = np.einsum("god,god->", weight @ self.xx, weight)
        return float(max(self.tt.sum() - 2 * along + quadratic, 0.0)) / self.power

    def bias(self, weight: Doubles) -> Doubles:
        """The bias that goes with `weight`, all channels in order."""
        return np.asarray((self.mean_t - np.einsum("god,gd->go", weight, self.mean_x)).reshape(-1))

    @staticmethod
    def of_weights(source: Normal, weight: Doubles) -> Normal:
        """The equations of the same inputs with the targets that `weight` makes of them."""
        xt = source.xx @ weight.transpose(0, 2, 1)
        tt = np.maximum(np.einsum("god,gdo->go", weight, xt), 0.0)
        mean_t = np.einsum("god,gd->go", weight, source.mean_x)
        return Normal(source.mean_x, mean_t, source.xx, xt, tt, source.count)


def best_strength(fit: Normal, held_out: Normal, prior: Doubles) -> float:
    """The λ whose solution on `fit` errs least on `held_out`; infinity when the old weights do."""
    strengths = STRENGTHS[1:4] if fit.xx.shape[1] > _LARGE else STRENGTHS
    errors = {strength: held_out.error(fit.solve(prior, strength)) for strength in strengths}
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] < held_out.error(prior) else float("inf")
