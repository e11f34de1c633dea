"""Shapes of free axes: what a caller must say before buffers can be made or a plan be built, and the words when it did not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ..core.errors import Rejected
from ..core.tensors import TensorSpec
from .base import ShapeProfile, Shapes

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_GUESSED_MAX_BATCH = 8
_GUESSED_AXIS = (32, 256, 1024)


def shape_words(shape: Sequence[int | None]) -> str:
    return "x".join("?" if axis is None else str(axis) for axis in shape) or "one number"


def fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    """Whether a concrete `shape` is one that `spec` allows."""
    return len(shape) == len(spec.shape) and all(want in {None, have} for want, have in zip(spec.shape, shape, strict=True))


def concrete_shapes(specs: Sequence[TensorSpec], shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shape of every input: as said in `shapes`, or the input's own where it has no free axis.

    Raises:
        Rejected: ``feeds-mismatch``.
    """
    found = {}
    for spec in specs:
        shape = shapes.get(spec.name, spec.shape)
        known = tuple(axis for axis in shape if axis is not None)
        if len(known) != len(shape) or not fits(known, spec):
            message = f"the input {spec.name!r} has shape {shape_words(shape)}, the model expects {shape_words(spec.shape)}"
            raise Rejected("feeds-mismatch", message, "Say the shape of every input that has free axes")
        found[spec.name] = known
    return found


def profiles_for(specs: Sequence[TensorSpec], profiles: Mapping[str, ShapeProfile], batch: int) -> dict[str, ShapeProfile]:
    """A profile for each input with free axes: the given one, or `batch` alone when only the first axis is free.

    Raises:
        Rejected: ``profile-missing`` with the lines to add to the card, or ``profile-mismatch``.
    """
    found = {}
    missing = []
    for spec in specs:
        if None not in spec.shape:
            continue
        profile = profiles.get(spec.name)
        if profile is None and None not in spec.shape[1:]:
            shape = tuple(batch if axis is None else axis for axis in spec.shape)
            profile = ShapeProfile(shape, shape, shape)
        if profile is None:
            missing.append(spec)
            continue
        if not all(fits(shape, spec) for shape in (profile.minimum, profile.optimum, profile.maximum)):
            message = f"the profile of {spec.name!r} does not fit its shape {shape_words(spec.shape)}"
            raise Rejected("profile-mismatch", message, "Correct shape_min, shape_opt and shape_max in the model card")
        found[spec.name] = profile
    if missing:
        raise profile_missing(missing)
    return found


def profile_missing(specs: Sequence[TensorSpec]) -> Rejected:
    """The error for inputs whose free axes nothing names; it prints the profile to add."""
    names = ", ".join(f"{spec.name!r} ({shape_words(spec.shape)})" for spec in specs)
    message = f"the model has free axes and the card no profile for {names}"
    return Rejected("profile-missing", message, f"Add to the model card, with the sizes that you use:\n{profile_toml(specs)}")


def profile_toml(specs: Sequence[TensorSpec]) -> str:
    """Lines for a model card: a profile of each of `specs`, with guessed sizes where the model says nothing."""
    lines = []
    for spec in specs:
        key = spec.name if _BARE_KEY.fullmatch(spec.name) else json.dumps(spec.name)
        lines.append(f"[inputs.{key}]")
        for position, name in enumerate(("shape_min", "shape_opt", "shape_max")):
            lines.append(f"{name} = {[_guess(axis, index, position) for index, axis in enumerate(spec.shape)]}")
    return "\n".join(lines)


def _guess(axis: int | None, index: int, position: int) -> int:
    if axis is not None:
        return axis
    return (1, 1, _GUESSED_MAX_BATCH)[position] if index == 0 else _GUESSED_AXIS[position]
