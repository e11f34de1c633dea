"""The recipe: the pieces of a file in their order, by short hashes; and filling a file with those pieces that other files have. Nothing of it is
trusted: every chunk of the result is held against the hash that was signed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from ..errors import Rejected
from .codec import mapped
from .pieces import KEY_BYTES, MAX_BYTES, cut, key_of

MAGIC = b"EWR\x01"
_ENTRY = struct.Struct(f"<{KEY_BYTES}sI")


def encode_recipe(path: Path) -> bytes:
    """The recipe of the file at `path`: 20 bytes per piece, a quarter of a percent."""
    with mapped(path) as data:
        return MAGIC + b"".join(_ENTRY.pack(key_of(data[start:end]), end - start) for start, end in cut(data))


def decode_recipe(data: bytes) -> list[tuple[bytes, int]]:
    """Key and size of each piece.

    Raises:
        Rejected: ``recipe-malformed``.
    """
    if data[: len(MAGIC)] != MAGIC or (len(data) - len(MAGIC)) % _ENTRY.size:
        raise Rejected("recipe-malformed", "the recipe cannot be used", "The whole file is fetched instead; check what made it")
    entries = list(_ENTRY.iter_unpack(data[len(MAGIC) :]))
    if any(not 0 < size <= MAX_BYTES for _, size in entries):
        raise Rejected("recipe-malformed", "the recipe has a piece of an impossible size", "The whole file is fetched instead; check what made it")
    return entries


def fill(target: Path, recipe: bytes, sources: Iterable[Path], size_bytes: int) -> int:
    """Write into `target` the pieces that `sources` have, each at its place; returns how many bytes that were.

    Raises:
        Rejected: ``recipe-malformed``, also when it is of a file of another size.
    """
    wanted: dict[bytes, list[tuple[int, int]]] = {}
    position = 0
    for key, size in decode_recipe(recipe):
        wanted.setdefault(key, []).append((position, size))
        position += size
    if position != size_bytes:
        raise Rejected("recipe-malformed", "the recipe is of another file", "The whole file is fetched instead; check what made it")
    filled = 0
    with target.open("r+b" if target.exists() else "w+b") as file:
        for source in sources:
            with mapped(source) as data:
                for start, end in cut(data):
                    for place, size in wanted.pop(key_of(data[start:end]), ()):
                        if size == end - start:
                            file.seek(place)
                            file.write(data[start:end])
                            filled += size
    return filled
