"""The last layer of a student in closed form: least squares from its features to the teacher's output, when nothing else fixed the output."""

from __future__ import annotations

import numpy as np

from ..compression.moments import Moments
from .filters import Filter, Floats

STRENGTH = 1e-3


def solved_head(features: Floats, targets: Floats, shape: tuple[int, ...]) -> Filter:
    """The filter of `shape` (out × in × …) that maps `features` (rows × in) to `targets` (rows × out) with the least squared error."""
    moments = Moments()
    moments.add(features[:, None, :], targets)
    normal = moments.normal()
    weight = normal.solve(np.zeros((1, targets.shape[1], features.shape[1])), STRENGTH)
    return Filter(weight[0].astype(np.float32).reshape(shape), normal.bias(weight).astype(np.float32))
