"""Recipes: what ships is valid, and every mistake has its own clear refusal."""

from __future__ import annotations

import pytest
from edgewright.compression.recipe import load_recipe, named_recipe, recipe_names
from edgewright.core.errors import Rejected


def test_the_named_recipes_are_those_of_the_design():
    assert recipe_names() == ("balanced", "distilled", "fast", "int8", "none", "small")


@pytest.mark.parametrize("name", ["balanced", "distilled", "fast", "int8", "none", "small"])
def test_every_named_recipe_can_be_read(name):
    recipe = named_recipe(name)

    assert recipe.name == name
    assert recipe.quantizes == (name in {"balanced", "distilled", "fast", "int8"})
    assert bool(recipe.steps) == (name in {"balanced", "fast", "small"})


FOLD = '[[passes]]\nname = "fold"\n'
WRONG = {
    "an unknown key at the top": ("quantise = true", "recipe-unknown-key", "quantize"),
    "an unknown key of a pass": (FOLD + '[[passes]]\nname = "factorize"\nmacs_ration = 0.8', "recipe-unknown-key", "macs_ratio"),
    "a key for a pass without any": (FOLD + "ratio = 2", "recipe-unknown-key", "no options"),
    "an unknown pass": ('[[passes]]\nname = "prune_chanels"', "recipe-unknown-pass", "prune_channels"),
    "a pass without a name": ("[[passes]]\nratio = 2", "recipe-unknown-pass", ""),
    "a ratio of more than one": (FOLD + '[[passes]]\nname = "factorize"\nmacs_ratio = 1.5', "recipe-bad-value", ""),
    "a ratio that is no number": (FOLD + '[[passes]]\nname = "factorize"\nmacs_ratio = "half"', "recipe-bad-value", ""),
    "two goals at once": (FOLD + '[[passes]]\nname = "factorize"\nmacs_ratio = 0.5\nenergy = 0.9', "recipe-bad-value", ""),
    "no goal": (FOLD + '[[passes]]\nname = "factorize"', "recipe-bad-value", ""),
    "a missing ratio": (FOLD + '[[passes]]\nname = "prune_channels"', "recipe-bad-value", ""),
    "a pass before what it requires": ('[[passes]]\nname = "share_weights"\nratio = 8', "recipe-order", "fold"),
    "a pass that undoes another": (
        FOLD + '[[passes]]\nname = "share_weights"\nratio = 8\n[[passes]]\nname = "prune_channels"\nmacs_ratio = 0.8',
        "recipe-order",
        "Put prune_channels before share_weights",
    ),
    "too many passes": (FOLD * 17, "recipe-bad-value", ""),
    "a student for no time": ("[distill]\nminutes = 0", "recipe-bad-value", ""),
    "a student that is no table": ("distill = 3", "recipe-bad-value", ""),
    "an unknown key of a student": ("[distill]\nminute = 3", "recipe-unknown-key", "minutes"),
    "no tables": ("passes = 3", "recipe-bad-value", ""),
    "no TOML": ("[[passes", "recipe-unreadable", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_refused_with_what_to_do(case, tmp_path):
    text, code, hint = WRONG[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(Rejected) as refused:
        load_recipe(str(path))

    assert (refused.value.code, hint in refused.value.next_step) == (code, True)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(Rejected) as refused:
        load_recipe("fasst")

    assert (refused.value.code, "fast" in refused.value.next_step) == ("recipe-unknown", True)


def test_a_name_from_the_wire_is_never_a_path(tmp_path):
    (tmp_path / "mine.toml").write_text(FOLD)

    with pytest.raises(Rejected) as refused:
        named_recipe(str(tmp_path / "mine.toml"))

    assert refused.value.code == "recipe-unknown"
