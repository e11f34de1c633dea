"""What a model's inputs and outputs are, as every layer sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output; None in `shape` is a dynamic axis. `dtype` is numpy's name (``float32``)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
