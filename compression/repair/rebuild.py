"""Builds the compressed network: every layer in order, fitted to what the compressed network feeds it and to what the original made.

For each layer: the normal equations of (input in the compressed network, target in the original), the weights that solve them held to the old
ones as strongly as held-out samples ask for, then the layer's form fitted to those weights, then its bias from the means. Errors of earlier
layers are made good by later ones as far as a linear layer can. Without repair, forms are fitted to the original's own inputs and no other
layer changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..activations import Engine, Frontier
from ..forms._base import Fitted, Form, Rank
from ..forms.keep import FORM as KEEP
from ..moments import Doubles, Normal, best_strength, joined
from ..network import Layer, Network
from ..samples import Samples
from ..surgery import replace_layer
from .rows import Rows, Walk, predictor
from .targets import Target, target_of

AIM_ROUNDS = 2
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of one layer."""

    form: Form
    rank: Rank


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The compressed model, and each layer's error on its own inputs as a share of its targets' power."""

    model: Any
    errors: Mapping[str, float]


def rebuild(
    teacher: Network,
    plan: Mapping[str, Choice],
    samples: Samples,
    engine: Engine,
    *,
    start: Network | None = None,
    kept: Mapping[str, npt.NDArray[np.intp]] = MappingProxyType({}),
    repair: bool = True,
    progress: Progress,
) -> Rebuilt:
    """Apply `plan` (by layer name) to `start`, whose tensors are the teacher's: all of their channels, or those that `kept` names.

    `start` None = the teacher itself. Layers before the first that differs are left as they are.
    """
    network = start or teacher
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    touched = [layer.name in plan or layer.output in kept or layer.source in kept for layer in network.layers]
    first = touched.index(True) if True in touched else len(touched)
    fitted = [layer for index, layer in enumerate(network.layers) if layer.name in plan or (repair and index >= first)]
    compressed = Frontier(model if repair else teacher.model, samples, engine)
    walk = Walk(Frontier(teacher.model, samples, engine), compressed, samples, kept)
    errors = {}
    for index, layer in enumerate(fitted):
        progress(index / len(fitted), f"fitting {layer.name}")
        target = target_of(network, layer) if repair else Target(layer.output, None, None)
        rows = walk.rows(layer, layer.source, target, keep=target.bounds is not None)
        choice = plan.get(layer.name, Choice(KEEP, ()))
        normal, made = _fitted(rows, layer, choice, target, matrix_of(network, layer), repair=repair)
        replace_layer(model, layer, made.pieces, normal.bias(made.weight))
        errors[layer.name] = normal.error(made.weight)
        walk.forget(_future(network, fitted[index + 1 :]))
    return Rebuilt(model, errors)


def _future(original: Network, layers: Sequence[Layer]) -> set[str]:
    """The tensors that fitting `layers` will ask for."""
    targets = [target_of(original, layer) for layer in layers]
    named = {target.tensor for target in targets} | {target.beside for target in targets if target.beside is not None}
    return named | {layer.source for layer in layers}


def _fitted(rows: Rows, layer: Layer, choice: Choice, target: Target, old: Doubles, *, repair: bool) -> tuple[Normal, Fitted]:
    fit, held_out = rows.equations()
    strength = best_strength(fit, held_out or fit, old) if repair else np.inf
    plain = fit if held_out is None else joined(fit, held_out)
    del fit, held_out
    normal = plain.with_prior(old)
    if not repair:
        return normal, next(choice.form.fit(layer, (choice.rank,), normal, old))
    fitted = next(choice.form.fit(layer, (choice.rank,), normal, solved(normal, old, strength)))
    if target.bounds is None or not rows.kept:
        return normal, fitted
    for _ in range(AIM_ROUNDS):
        normal = rows.aimed(plain, predictor(fitted.weight, normal.bias(fitted.weight)), target.bounds).with_prior(old)
        fitted = next(choice.form.fit(layer, (choice.rank,), normal, solved(normal, old, strength)))
    return normal, fitted


def solved(normal: Normal, prior: Doubles, strength: float) -> Doubles:
    return prior if np.isinf(strength) else normal.solve(prior, strength)


def matrix_of(network: Network, layer: Layer) -> Doubles:
    """The layer's weights as groups × out × fan-in."""
    geometry = layer.geometry
    weight = network.weight(layer).astype(np.float64)
    return weight.reshape(geometry.groups, geometry.channels_out // geometry.groups, geometry.fan_in)
