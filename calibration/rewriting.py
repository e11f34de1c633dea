"""Applies every exact rewrite of `rewrites` that finds something to do in a model."""

from __future__ import annotations

from typing import Any

from ..core.plugins import load_plugin, plugin_names
from . import rewrites
from .rewrites._base import Rewrite


def rewrite_names() -> tuple[str, ...]:
    return plugin_names(rewrites)


def load_rewrite(name: str) -> Rewrite:
    found: Rewrite = load_plugin(rewrites, name).REWRITE
    return found


def rewritten(model: Any) -> Any:
    """`model` after every rewrite; itself when none applies."""
    for name in rewrite_names():
        made = load_rewrite(name).apply(model)
        model = model if made is None else made
    return model
