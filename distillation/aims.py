"""What a student's layer aims at when it has fewer or more channels than the teacher, or another picture size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .filters import Floats

_TINY = 1e-12


def leading_channels(activations: Floats, count: int) -> npt.NDArray[np.intp]:
    """The `count` channels (of samples × channels × height × width) from which the others are best told by least squares; all, when there are fewer.

    One after the other, each the one that explains most of what the chosen ones leave (pivoted Cholesky on the covariance). Whole channels and not
    mixtures, for a Relu behind a mixture is another network.
    """
    flat = np.moveaxis(activations, 1, 0).reshape(activations.shape[1], -1)
    left = np.atleast_2d(np.cov(flat, dtype=np.float64))
    chosen: list[int] = []
    for _ in range(min(count, len(left))):
        variance = np.diagonal(left)
        explained = np.square(left).sum(0) / np.maximum(variance, _TINY)
        explained[variance <= _TINY * max(float(variance.max()), 1.0)] = -1.0
        explained[chosen] = -2.0
        best = int(explained.argmax())
        chosen.append(best)
        if variance[best] > _TINY:
            left = left - np.outer(left[:, best], left[best]) / variance[best]
    return np.asarray(chosen, np.intp)


def at_size(activations: Floats, size: tuple[int, int]) -> Floats:
    """Means over windows where the picture is larger than `size`, the nearest position where it is smaller."""
    made: npt.NDArray[Any] = activations
    for axis, wanted in ((2, size[0]), (3, size[1])):
        have = made.shape[axis]
        if have > wanted:
            edges = np.arange(wanted) * have // wanted
            widths = np.diff(np.append(edges, have))
            shape = [1, 1, 1, 1]
            shape[axis] = wanted
            made = np.add.reduceat(made, edges, axis=axis) / widths.astype(np.float32).reshape(shape)
        elif have < wanted:
            made = np.take(made, np.arange(wanted) * have // wanted, axis=axis)
    return np.ascontiguousarray(made, np.float32)
