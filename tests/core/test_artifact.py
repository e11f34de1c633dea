"""Artifacts: names, sizes and chunk lists that a store can trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from edgewright.core import artifact as module
from edgewright.core.artifact import Artifact, Blob, check_artifact, chunk_hashes, describe_bytes, describe_file, walk_blobs
from edgewright.core.errors import Rejected

CHUNK = 118_784  # 29 pages of 4 KiB
DIGEST = "ab" * 32


def listed(size_bytes: int, list_bytes: int) -> Blob:
    return Blob(DIGEST, size_bytes, Blob(DIGEST, list_bytes))


def test_a_blob_of_one_chunk_has_no_list() -> None:
    blob, lists = describe_bytes(b"x" * CHUNK)

    assert (blob, lists) == (Blob(hashlib.sha256(b"x" * CHUNK).hexdigest(), CHUNK), ())


def test_a_blob_of_more_has_the_hash_of_each_chunk() -> None:
    data = b"x" * CHUNK + b"y"

    blob, lists = describe_bytes(data)

    expected = hashlib.sha256(b"x" * CHUNK).digest() + hashlib.sha256(b"y").digest()
    assert lists == (expected,)
    assert blob == Blob(hashlib.sha256(data).hexdigest(), CHUNK + 1, Blob(hashlib.sha256(expected).hexdigest(), 64))
    assert chunk_hashes(expected) == (hashlib.sha256(b"x" * CHUNK).digest(), hashlib.sha256(b"y").digest())


def test_a_list_longer_than_a_chunk_has_its_own_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 64)
    data = bytes(range(200)) + bytes(100)  # 5 chunks of 64; their hashes fill 160 bytes: 3 chunks; theirs 96: 2; theirs 64: 1

    blob, lists = describe_bytes(data)

    sizes = []
    link: Blob | None = blob
    while link is not None:
        sizes.append(link.size_bytes)
        link = link.chunks
    assert sizes == [300, 160, 96, 64]
    assert [len(item) for item in lists] == [160, 96, 64]


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_file_is_described_as_its_bytes_are(tmp_path: Path, size_bytes: int) -> None:
    data = hashlib.shake_128(b"seed").digest(size_bytes)
    (tmp_path / "file").write_bytes(data)

    described = describe_file(tmp_path / "file")

    assert described == describe_bytes(data)
    check_artifact(Artifact({"file": described[0]}))


def test_a_file_above_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    (tmp_path / "file").write_bytes(b"x" * 11)

    with pytest.raises(Rejected) as caught:
        describe_file(tmp_path / "file")

    assert caught.value.code == "artifact-too-large"


@pytest.mark.parametrize("name", ["model.onnx", "_x", "-x", "0", "a" * 128, "images-0001.jpg"])
def test_plain_names_are_allowed(name: str) -> None:
    artifact = Artifact({name: Blob(DIGEST, 1)})

    assert check_artifact(artifact) is artifact


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "/a", "A", "a b", "a\\b", "a\n", "é", "a" * 129, "a\0"])
def test_names_that_could_traverse_or_confuse_are_refused(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_artifact(Artifact({name: Blob(DIGEST, 1)}))

    assert caught.value.code == "artifact-malformed"


@pytest.mark.parametrize(
    "blob",
    [
        Blob("", 1),
        Blob(DIGEST.upper(), 1),
        Blob(DIGEST, -1),
        Blob(DIGEST, (4 << 30) + 1),
        Blob(DIGEST, CHUNK + 1),
        listed(CHUNK, 32),
        listed(CHUNK + 1, 32),
        listed(2 * CHUNK + 1, 64),
        Blob(DIGEST, CHUNK + 1, Blob("x", 64)),
    ],
)
def test_blobs_that_do_not_add_up_are_refused(blob: Blob) -> None:
    with pytest.raises(Rejected) as caught:
        check_artifact(Artifact({"file": blob}))

    assert caught.value.code == "artifact-malformed"


@pytest.mark.parametrize("count", [0, 65])
def test_an_artifact_has_one_to_64_files(count: int) -> None:
    with pytest.raises(Rejected):
        check_artifact(Artifact({f"f{i}": Blob(DIGEST, 1) for i in range(count)}))


def test_the_largest_file_needs_a_list_and_a_list_of_it() -> None:
    chunks = -(-(4 << 30) // CHUNK)
    first_list = chunks * 32
    second_list = -(-first_list // CHUNK) * 32
    blob = Blob(DIGEST, 4 << 30, Blob(DIGEST, first_list, Blob(DIGEST, second_list)))

    assert check_artifact(Artifact({"file": blob})).size_bytes == 4 << 30


def test_lists_come_before_what_they_list_and_each_digest_once() -> None:
    small, large = Blob("aa" * 32, 1), Blob("bb" * 32, CHUNK + 1, Blob("cc" * 32, 64))
    artifact = Artifact({"a": small, "b": large, "copy": small, "again": large})

    assert [blob.digest[:2] for blob in walk_blobs(artifact)] == ["aa", "cc", "bb"]


def test_an_artifact_survives_the_way_through_json() -> None:
    artifact = Artifact({"a": Blob(DIGEST, 1), "b": listed(CHUNK + 1, 64)})

    assert msgspec.json.decode(msgspec.json.encode(artifact), type=Artifact) == artifact
