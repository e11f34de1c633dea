"""Feeds as an engine wants them: its types, and its batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import Rejected
from ..core.tensors import TensorSpec
from .base import Array, Tensors


def cast_feeds(feeds: Tensors, inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """`feeds` in the types that `inputs` want: a quantised model takes float32 where its float16 original took float16."""
    return {spec.name: feeds[spec.name].astype(spec.dtype, copy=False) for spec in inputs}


def fixed_batch(inputs: tuple[TensorSpec, ...]) -> int | None:
    """The batch that the model prescribes, None when it is free."""
    return next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] is not None), None)


def filled_feeds(feeds: Tensors, batch: int) -> Tensors:
    """`feeds` with the last sample repeated until there are `batch`: a model of fixed batch takes no fewer."""
    size = len(next(iter(feeds.values())))
    if size >= batch:
        return feeds
    return {name: np.concatenate([values, np.repeat(values[-1:], batch - size, axis=0)]) for name, values in feeds.items()}


def first_samples(outputs: Mapping[str, Array], size: int, batch: int) -> Mapping[str, Array]:
    """What belongs to the first `size` samples of a run that was filled up to `batch`."""
    if size == batch:
        return outputs
    return {name: values[:size] if values.ndim and len(values) == batch else values for name, values in outputs.items()}


def check_feeds(feeds: Tensors, inputs: tuple[TensorSpec, ...]) -> None:
    """Hold `feeds` against what an engine takes.

    Raises:
        Rejected: ``feeds-mismatch`` naming the input.
    """
    hint = "Feed each input by name, with its type and shape"
    for spec in inputs:
        if spec.name not in feeds:
            raise Rejected("feeds-mismatch", f"the input {spec.name!r} is missing", hint)
        value = np.asarray(feeds[spec.name])
        if value.dtype.name != spec.dtype:
            raise Rejected("feeds-mismatch", f"the input {spec.name!r} is {value.dtype.name}, the model expects {spec.dtype}", hint)
        if len(value.shape) != len(spec.shape) or any(want not in {None, have} for want, have in zip(spec.shape, value.shape, strict=True)):
            raise Rejected("feeds-mismatch", f"the input {spec.name!r} has shape {value.shape}, the model expects {spec.shape}", hint)
    extra = set(feeds) - {spec.name for spec in inputs}
    if extra:
        raise Rejected("feeds-mismatch", f"the model has no input {min(extra)!r}", hint)
