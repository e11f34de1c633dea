"""Names the nearest known word, for errors about a key or a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """``Did you mean x?``, or the known words when none is near."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(words)}"
