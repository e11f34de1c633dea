from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgewright.controller import blobs
from edgewright.controller.blobs import MAX_OPEN, BlobReader, BlobStore
from edgewright.core.artifact import chunk_hashes
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.frames import CHUNK_BYTES


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return BlobStore(folder)


def source(tmp_path: Path, data: bytes, name: str = "source") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def names(store: BlobStore) -> list[str]:
    return sorted(path.name for path in store.path("x").parent.iterdir())


def test_a_file_is_stored_under_its_digest(store: BlobStore, tmp_path: Path) -> None:
    blob = store.add_file(source(tmp_path, b"content"))

    assert blob.digest == hashlib.sha256(b"content").hexdigest()
    assert (blob.size_bytes, blob.chunks) == (7, None)
    assert store.path(blob.digest).read_bytes() == b"content"
    assert names(store) == [blob.digest]


def test_the_chunk_list_of_a_large_file_is_a_blob_as_well(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 5)
    blob = store.add_file(source(tmp_path, data))
    assert blob.chunks is not None
    chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]

    assert chunk_hashes(store.path(blob.chunks.digest).read_bytes()) == tuple(hashlib.sha256(chunk).digest() for chunk in chunks)
    assert names(store) == sorted([blob.digest, blob.chunks.digest])


def test_what_is_there_is_not_written_again(store: BlobStore, tmp_path: Path) -> None:
    first = store.add_file(source(tmp_path, b"content"))
    before = store.path(first.digest).stat()
    second = store.add_file(source(tmp_path, b"content", "another name"))

    assert second == first
    assert store.path(first.digest).stat().st_ino == before.st_ino


def test_bytes_are_stored_like_files(store: BlobStore, tmp_path: Path) -> None:
    data = bytes(CHUNK_BYTES + 1)

    assert store.add_bytes(data) == store.add_file(source(tmp_path, data))


def test_a_file_that_changes_while_it_is_copied_is_described_as_it_was_stored(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source(tmp_path, b"before")
    describe = blobs.describe_file

    def describe_and_change(which: Path) -> Any:
        found = describe(which)
        path.write_bytes(b"after")
        return found

    monkeypatch.setattr(blobs, "describe_file", describe_and_change)
    blob = store.add_file(path)

    assert store.path(blob.digest).read_bytes() == b"after"
    assert blob.digest == hashlib.sha256(b"after").hexdigest()


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_what_cannot_be_read_is_refused(store: BlobStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(Rejected) as refused:
        store.add_file(path)

    assert refused.value.code == "file-unreadable"
    assert names(store) == []


def test_a_full_disk_leaves_nothing_behind(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: object, target: Any, _length: int) -> None:
        target.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(blobs.shutil, "copyfileobj", full)
    with pytest.raises(Unfit) as unfit:
        store.add_file(source(tmp_path, b"content"))

    assert unfit.value.code == "disk-full"
    assert names(store) == []


def test_what_a_killed_process_left_goes_with_the_next_scratch_and_what_a_living_one_uses_stays(store: BlobStore, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    folder = store.path("x").parent
    for pid in (dead.pid, os.getppid()):
        (folder / f".adding-{pid}-x").mkdir()
    with store.scratch() as scratch:
        assert scratch.parent == folder

    assert names(store) == [f".adding-{os.getppid()}-x"]


def test_only_whole_digests_name_blobs(store: BlobStore) -> None:
    store.add_bytes(b"content")

    for name in ("", ".", "..", "../blobs", "a" * 63, "A" * 64, "/etc/passwd"):
        assert not store.has(name)
        assert BlobReader(store).chunk(name, 0) is None


def test_a_reader_gives_chunks_and_nothing_behind_the_end(store: BlobStore) -> None:
    data = os.urandom(CHUNK_BYTES + 100)
    digest, reader = store.add_bytes(data).digest, BlobReader(store)

    assert reader.chunk(digest, 0) == data[:CHUNK_BYTES]
    assert reader.chunk(digest, 1) == data[CHUNK_BYTES:]
    assert reader.chunk(digest, 2) == b""
    assert reader.chunk(digest, 2**32 - 1) == b""
    assert reader.chunk("0" * 64, 0) is None
    reader.close()


def test_a_reader_follows_no_link_out_of_the_store(store: BlobStore, tmp_path: Path) -> None:
    store.path("0" * 64).symlink_to(source(tmp_path, b"secret"))

    assert BlobReader(store).chunk("0" * 64, 0) is None


def test_a_reader_keeps_few_files_open(store: BlobStore) -> None:
    digests = [store.add_bytes(b"%d" % number).digest for number in range(MAX_OPEN + 10)]
    reader = BlobReader(store)
    before = len(os.listdir("/proc/self/fd"))
    for digest in digests * 2:
        assert reader.chunk(digest, 0)

    assert len(os.listdir("/proc/self/fd")) - before == MAX_OPEN
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
