"""Recipes: which passes, in which order, how strong. TOML; the named ones ship with the program.

    [[passes]]
    name = "factorize"
    macs_ratio = 0.8

    quantize = true          # calibrate what comes out to INT8 (in `optimize` and in deployments)

    [distill]                # teach a student as well, where PyTorch, power and time allow it (in `optimize` and in deployments)
    student = "auto"
    minutes = 20

Rules: unknown keys and passes are refused with the nearest known one; ratios out of range and orders that cannot work are refused before any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.plugins import load_plugin, plugin_names
from ..core.toml import decode_toml
from . import passes, recipes
from .base import Pass, PassOptions, Trait

MAX_PASSES, MAX_MINUTES = 16, 24 * 60
_FIX = "Correct the recipe; its format is in docs/compression.md"


@dataclass(frozen=True, slots=True)
class Step:
    """One pass with its options."""

    name: str
    work: Pass[Any]
    options: PassOptions


class StudentOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A student that shall be taught: ``auto`` or a spec of blocks, and how long it may take."""

    student: str = "auto"
    minutes: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= MAX_MINUTES:
            raise ValueError(f"minutes = {self.minutes} is out of range: 0 < minutes <= {MAX_MINUTES}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order; `quantizes` when INT8 candidates are wanted of the result; `distill` when a student of the original is wanted as well."""

    name: str
    steps: tuple[Step, ...]
    quantizes: bool
    distill: StudentOrder | None = None

    @property
    def needs_data(self) -> bool:
        return self.distill is not None or any(step.work.needs_data for step in self.steps)


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with the program."""
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in resources.files(recipes).iterdir() if entry.name.endswith(".toml")))


def named_recipe(name: str) -> Recipe:
    """The recipe `name` that ships with the program.

    Raises:
        Rejected: ``recipe-unknown``.
    """
    if name not in recipe_names():
        raise Rejected("recipe-unknown", f"there is no recipe {name!r}", nearest_hint(name, recipe_names()))
    with resources.as_file(resources.files(recipes) / f"{name}.toml") as path:
        return recipe_from_toml(path)


def load_recipe(name_or_path: str) -> Recipe:
    """The named recipe, or the one in the TOML file at a path: for people at a command line.

    Raises:
        Rejected: ``recipe-unknown``, ``recipe-unreadable``, ``recipe-unknown-key``, ``recipe-unknown-pass``, ``recipe-bad-value``, ``recipe-order``.
    """
    return recipe_from_toml(Path(name_or_path)) if name_or_path.endswith(".toml") else named_recipe(name_or_path)


def recipe_from_toml(path: Path) -> Recipe:
    """Read a recipe; see `load_recipe`."""
    table = decode_toml(path, what="recipe")
    known = ("passes", "quantize", "distill")
    for key in table:
        if key not in known:
            raise Rejected("recipe-unknown-key", f"the recipe {path.name} has an unknown key {key!r}", nearest_hint(key, known))
    entries, quantize = table.get("passes", []), table.get("quantize", False)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not isinstance(quantize, bool):
        raise Rejected("recipe-bad-value", f"the recipe {path.name} wants [[passes]] tables and quantize = true or false", _FIX)
    if len(entries) > MAX_PASSES:
        raise Rejected("recipe-bad-value", f"the recipe {path.name} has {len(entries)} passes, more than {MAX_PASSES}", _FIX)
    recipe = Recipe(path.stem, tuple(_step(path.name, entry) for entry in entries), quantize, _student(path.name, table.get("distill")))
    check_order(recipe.steps)
    return recipe


def _student(file: str, fields: object) -> StudentOrder | None:
    if fields is None:
        return None
    known = [field.name for field in msgspec.structs.fields(StudentOrder)]
    for key in fields if isinstance(fields, dict) else ():
        if key not in known:
            raise Rejected("recipe-unknown-key", f"the recipe {file} has an unknown key {key!r} in [distill]", nearest_hint(key, known))
    try:
        return msgspec.convert(fields, StudentOrder)
    except msgspec.ValidationError as error:
        raise Rejected("recipe-bad-value", f"the recipe {file} has a [distill] that cannot be used: {error}", _FIX) from error


def _step(file: str, entry: dict[str, Any]) -> Step:
    fields = dict(entry)
    name = fields.pop("name", None)
    names = plugin_names(passes)
    if name not in names:
        raise Rejected("recipe-unknown-pass", f"the recipe {file} has an unknown pass {name!r}", nearest_hint(str(name), names))
    return make_step(name, fields, where=f"the recipe {file}")


def make_step(name: str, fields: dict[str, Any], where: str = "the recipe") -> Step:
    """The pass `name` with options from plain values.

    Raises:
        Rejected: ``recipe-unknown-key`` or ``recipe-bad-value``.
    """
    work: Pass[Any] = load_plugin(passes, name).PASS
    known = [field.name for field in msgspec.structs.fields(work.options)]
    for key in fields:
        if key not in known:
            hint = nearest_hint(key, known) if known else "It has no options"
            raise Rejected("recipe-unknown-key", f"{where} gives the pass {name} an unknown key {key!r}", hint)
    try:
        return Step(name, work, msgspec.convert(fields, work.options))
    except msgspec.ValidationError as error:
        raise Rejected("recipe-bad-value", f"{where}: the pass {name} cannot use this: {error}", _FIX) from error


def check_order(steps: Sequence[Step]) -> None:
    """Walk through the traits that passes require, forbid and ensure.

    Raises:
        Rejected: ``recipe-order``.
    """
    made_by: dict[Trait, str] = {}
    for step in steps:
        for trait in sorted(step.work.requires):
            if trait not in made_by:
                message = f"the pass {step.name} comes before what it requires: {trait}"
                raise Rejected("recipe-order", message, f"Put {_maker(trait)} before it")
        for trait in sorted(step.work.forbids):
            if trait in made_by:
                message = f"the pass {step.name} would undo what {made_by[trait]} made: {trait}"
                raise Rejected("recipe-order", message, f"Put {step.name} before {made_by[trait]}")
        made_by.update(dict.fromkeys(step.work.ensures, step.name))


def _maker(trait: Trait) -> str:
    return next((name for name in plugin_names(passes) if trait in load_plugin(passes, name).PASS.ensures), "a pass that makes it")
