"""A plan as a whole network with arbitrary weights: it runs as long as the fitted one will, and is written in a moment.

What single layers cost does not tell what a runtime fuses, how warm its caches are inside a network, or what changing layouts costs; the skeleton
has all of that. Fitting weights takes a minute, and no clock sees the difference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..forms._base import Piece
from ..forms.sparse import FORM as SPARSE
from ..network import Geometry
from ..repair.rebuild import Choice
from ..surgery import cut_channels, replace_layer
from .plan import Plan
from .space import Space


def skeleton(space: Space, plan: Plan) -> Any:
    """The model of `plan` in float; layers that take another form have arbitrary weights, all others the first ones of their own."""
    model = cut_channels(space.network, space.coupling.kept(space.removed(plan.levels)), {})
    rng = np.random.default_rng(0)
    for name, choice in plan.forms.items():
        layer = space.network.layer(name)
        chain = choice.form.chain(layer, choice.rank)
        pieces = [_piece(geometry, rng, is_sparse=is_2_4(choice)) for geometry in chain]
        replace_layer(model, layer, pieces, np.zeros(chain[-1].channels_out))
    return onnx.shape_inference.infer_shapes(model)


def float_names(space: Space, plan: Plan, floats: frozenset[str]) -> frozenset[str]:
    """What the layers `floats` and those that `plan` leaves in float are called in the plan's network: a form gives each piece a name."""
    found: set[str] = set()
    for name in floats | plan.floats:
        choice = plan.forms.get(name)
        count = 1 if choice is None else len(choice.form.chain(space.network.layer(name), choice.rank))
        found.update({name} if count == 1 else {f"{name}/{number}" for number in range(1, count + 1)})
    return frozenset(found)


def is_2_4(choice: Choice) -> bool:
    """Whether the layer keeps its shape and half of its weights."""
    return choice.form.name == SPARSE.name


def half_zero(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`weight` (out × in × …) without two of each four along its inputs."""
    return np.where(np.arange(weight.shape[1]).reshape(1, -1, *[1] * (weight.ndim - 2)) % 4 < 2, weight, 0).astype(weight.dtype)


def _piece(geometry: Geometry, rng: np.random.Generator, *, is_sparse: bool) -> Piece:
    shape = (geometry.channels_out, geometry.channels_in // geometry.groups, *geometry.kernel)
    weight = rng.standard_normal(shape) / math.sqrt(geometry.fan_in)
    return Piece(geometry, half_zero(weight) if is_sparse else weight)
