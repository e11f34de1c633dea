"""Orders get shorter ways where there is something to gain."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from edgewright.controller.blobs import BlobStore
from edgewright.controller.shortcuts import MAX_BASES, MIN_BYTES, with_shortcuts
from edgewright.core.artifact import Artifact, check_shortcuts
from edgewright.core.delta.codec import decode_delta
from edgewright.core.delta.recipe import decode_recipe
from edgewright.core.wire.messages import Order

BASE = random.Random(1).randbytes(2 * MIN_BYTES)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return BlobStore(folder)


def order(blobs: BlobStore, name: str, data: bytes, file: str = "model.onnx") -> Order:
    return Order(deployment=name, version="1", model=Artifact({file: blobs.add_bytes(data)}), model_file=file)


def test_a_version_that_differs_a_little_has_a_delta_and_a_recipe(blobs: BlobStore) -> None:
    base, target = order(blobs, "d1", BASE), order(blobs, "d2", BASE[:1000] + b"new" + BASE[1000:])
    found = with_shortcuts(target, [base], blobs).shortcuts[target.model.files["model.onnx"].digest]
    check_shortcuts({target.model.files["model.onnx"].digest: found})

    (delta,) = found.deltas
    assert (delta.base, found.recipe is not None) == (base.model.files["model.onnx"].digest, True)
    assert delta.blob.size_bytes < 1500
    assert decode_delta(blobs.path(delta.blob.digest).read_bytes()).size == len(BASE) + 3
    assert sum(size for _, size in decode_recipe(blobs.path(found.recipe.digest).read_bytes())) == len(BASE) + 3  # type: ignore[union-attr]


def test_a_version_with_nothing_in_common_has_no_delta(blobs: BlobStore) -> None:
    target = order(blobs, "d2", random.Random(2).randbytes(2 * MIN_BYTES))

    (shortcut,) = with_shortcuts(target, [order(blobs, "d1", BASE)], blobs).shortcuts.values()
    assert (shortcut.deltas, shortcut.recipe is not None) == ((), True)


def test_small_files_go_the_straight_way(blobs: BlobStore) -> None:
    assert with_shortcuts(order(blobs, "d2", BASE[: MIN_BYTES - 1]), [order(blobs, "d1", BASE)], blobs).shortcuts == {}


def test_the_same_file_a_lost_one_and_one_too_many_are_no_bases(blobs: BlobStore) -> None:
    target = order(blobs, "d9", BASE + b"x")
    bases = [order(blobs, f"d{number}", BASE + bytes([number])) for number in range(MAX_BASES + 2)]
    lost = bases[0].model.files["model.onnx"].digest
    blobs.path(lost).unlink()

    (shortcut,) = with_shortcuts(target, [target, *bases], blobs).shortcuts.values()
    digests = [base.model.files["model.onnx"].digest for base in bases]
    assert [delta.base for delta in shortcut.deltas] == digests[1 : MAX_BASES - 1]
