"""Hints: the nearest known word, or all of them."""

from __future__ import annotations

from edgewright.core.nearest import nearest_hint


def test_a_near_word_is_suggested() -> None:
    assert nearest_hint("imput", ["input", "mask"]) == "Did you mean 'input'?"


def test_without_a_near_word_the_known_ones_are_listed() -> None:
    assert nearest_hint("zzz", ["input", "mask"]) == "Known: input, mask"
