"""The weights of a student as they leave: one filter and one bias per weighted operation, batch norms inside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .wiring import Conv, Weighted, Wiring

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Filter:
    """`weight` is out × in/groups × kernel of a convolution, out × in of a matrix product."""

    weight: Floats
    bias: Floats


Filters = Mapping[str, Filter]


def filter_shape(op: Weighted) -> tuple[int, ...]:
    if isinstance(op, Conv):
        return op.channels_out, op.channels_in // op.groups, *op.kernel
    return op.outputs, op.inputs


def first_filters(wiring: Wiring, seed: int) -> Filters:
    """Where training begins: normal values of variance 2 ÷ fan-in (He et al. 2015), no bias. Equal seeds, equal filters."""
    made = {}
    for index, op in enumerate(wiring.weighted):
        shape = filter_shape(op)
        scale = math.sqrt(2 / math.prod(shape[1:]))
        weight = np.random.default_rng([seed, index]).standard_normal(shape) * scale
        made[op.name] = Filter(weight.astype(np.float32), np.zeros(shape[0], np.float32))
    return made
