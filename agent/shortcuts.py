"""Shorter ways to an order's files: which of those that the order names this device can go. Reads the store, changes nothing.

A way fills ``partial/DIGEST`` as well as it can; every chunk of it is then held against its signed hash, as after a crash, and what is missing
is fetched. So a way that leads nowhere costs its own bytes and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.artifact import Artifact, Blob, walk_blobs
from ..core.wire.messages import Order
from ..pipeline.request import RebuildItem, RebuildRequest
from .store import Store

MAX_SOURCES = 32
MIN_SOURCE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """How to come by `target`: with `delta` from the blob `base`, or with the pieces that `recipe` lists."""

    target: Blob
    delta: Blob | None = None
    base: str = ""
    recipe: Blob | None = None

    @property
    def blobs(self) -> Iterator[Blob]:
        """What has to be fetched for it."""
        for blob in (self.delta, self.recipe):
            if blob is not None:
                yield from walk_blobs(Artifact({"way": blob}))


def ways_for(order: Order, store: Store) -> tuple[Way, ...]:
    """The best way to each file that has one and of which nothing is here yet."""
    ways = []
    for blob in order.model.files.values():
        shortcut = order.shortcuts.get(blob.digest)
        if shortcut is None or store.has(blob) or store.has_partial(blob):
            continue
        delta = next((delta for delta in shortcut.deltas if store.path(delta.base).is_file()), None)
        if delta is not None:
            ways.append(Way(blob, delta.blob, delta.base))
        elif shortcut.recipe is not None and sources(store, blob.digest):
            ways.append(Way(blob, recipe=shortcut.recipe))
    return tuple(ways)


def shortcut_blobs(order: Order) -> Iterator[Blob]:
    """Everything that any way of the order may fetch."""
    for shortcut in order.shortcuts.values():
        for blob in (shortcut.recipe, *(delta.blob for delta in shortcut.deltas)):
            if blob is not None:
                yield from walk_blobs(Artifact({"way": blob}))


def sources(store: Store, but: str) -> list[Path]:
    """Files whose pieces may be of use: whole blobs and partial ones, the largest first."""
    found = [(path.stat().st_size, path) for path in store.files() if path.name != but]
    return [path for size, path in sorted(found, reverse=True)[:MAX_SOURCES] if size >= MIN_SOURCE_BYTES]


def rebuild_request(ways: tuple[Way, ...], store: Store) -> RebuildRequest:
    """What a worker child is asked for."""
    return RebuildRequest(tuple(_item(way, store) for way in ways))


def _item(way: Way, store: Store) -> RebuildItem:
    target = str(store.partial_path(way.target.digest))
    if way.delta is not None:
        return RebuildItem(target=target, size_bytes=way.target.size_bytes, delta=str(store.path(way.delta.digest)), base=str(store.path(way.base)))
    assert way.recipe is not None
    paths = tuple(str(path) for path in sources(store, way.target.digest))
    return RebuildItem(target=target, size_bytes=way.target.size_bytes, recipe=str(store.path(way.recipe.digest)), sources=paths)
