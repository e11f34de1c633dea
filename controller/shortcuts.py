"""Makes the shorter ways that an order offers: a delta from each of the versions that its devices are likely to have, and a recipe of pieces."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from ..core.artifact import Blob, Delta, Shortcut
from ..core.delta.codec import encode_delta
from ..core.delta.recipe import encode_recipe
from ..core.wire.messages import Order
from .blobs import BlobStore

log = logging.getLogger(__name__)

MIN_BYTES = 1 << 20
MAX_BYTES = 512 << 20
MAX_BASES = 4
WORTH_IT = 0.8
"""A delta above this share of the file saves too little to be made out and fetched."""


def with_shortcuts(order: Order, bases: Iterable[Order], blobs: BlobStore) -> Order:
    """`order` with a recipe for each larger file, and deltas from the same file in `bases`, at most `MAX_BASES` of them, the first ones."""
    earlier = list(bases)
    shortcuts = {}
    for name, blob in order.model.files.items():
        if not MIN_BYTES <= blob.size_bytes <= MAX_BYTES:
            continue
        others = dict.fromkeys(base.model.files[name].digest for base in earlier if name in base.model.files)
        deltas = [delta for other in list(others)[:MAX_BASES] if (delta := _delta(blobs, other, blob)) is not None]
        shortcuts[blob.digest] = Shortcut(recipe=blobs.add_bytes(encode_recipe(blobs.path(blob.digest))), deltas=tuple(deltas))
    return msgspec.structs.replace(order, shortcuts=shortcuts)


def _delta(blobs: BlobStore, base: str, target: Blob) -> Delta | None:
    """None when there is no such base, or too little to gain."""
    if base == target.digest or not blobs.has(base) or blobs.path(base).stat().st_size > MAX_BYTES:
        return None
    data = encode_delta(blobs.path(base), blobs.path(target.digest))
    share = len(data) / target.size_bytes
    log.info("A delta has %.1f %% of the bytes of %s", 100 * share, target.digest[:12])
    return Delta(base, blobs.add_bytes(data)) if share < WORTH_IT else None
