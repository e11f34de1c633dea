"""A plan as a whole network with arbitrary weights: it runs as long as the fitted one will, and is written in a moment.

What single layers cost does not tell what a runtime fuses, how warm its caches are inside a network, or what changing layouts costs; the skeleton
has all of that. Fitting weights takes a minute, and no clock sees the difference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from ..forms._base import Piece
from ..network import Geometry
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
        replace_layer(model, layer, [_piece(geometry, rng) for geometry in chain], np.zeros(chain[-1].channels_out))
    return onnx.shape_inference.infer_shapes(model)


def float_names(space: Space, plan: Plan, floats: frozenset[str]) -> frozenset[str]:
    """What the layers `floats` and those that `plan` leaves in float are called in the plan's network: a form gives each piece a name."""
    found: set[str] = set()
    for name in floats | plan.floats:
        choice = plan.forms.get(name)
        count = 1 if choice is None else len(choice.form.chain(space.network.layer(name), choice.rank))
        found.update({name} if count == 1 else {f"{name}/{number}" for number in range(1, count + 1)})
    return frozenset(found)


def _piece(geometry: Geometry, rng: np.random.Generator) -> Piece:
    shape = (geometry.channels_out, geometry.channels_in // geometry.groups, *geometry.kernel)
    return Piece(geometry, rng.standard_normal(shape) / math.sqrt(geometry.fan_in))
