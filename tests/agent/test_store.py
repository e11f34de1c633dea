"""The store: blobs appear whole, partial ones are taken up again, and no bit is believed without its bytes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from edgewright.agent.store import PartialBlob, Store
from edgewright.core.artifact import Artifact, Blob, describe_bytes
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.frames import CHUNK_BYTES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def put(store: Store, data: bytes) -> Blob:
    """Bring `data` into the store as a transfer does; returns its blob."""
    blob, lists = describe_bytes(data)
    for each in (*reversed(lists), data):
        part, _ = describe_bytes(each)
        if not store.has(part):
            partial = store.open_partial(part)
            fill(partial, each, range(partial.count))
            partial.finish()
    return blob


def fill(partial: PartialBlob, data: bytes, indices: range | list[int]) -> None:
    for index in indices:
        assert partial.add(index, memoryview(data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]))


def opened(store: Store, data: bytes) -> PartialBlob:
    """A partial blob of `data`, whose chunk lists are in the store."""
    blob, lists = describe_bytes(data)
    for each in reversed(lists):
        put(store, each)
    return store.open_partial(blob)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
def test_a_blob_appears_whole_and_read_only(size: int, tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(size)
    blob = put(store, data)

    path = store.path(blob.digest)
    assert (store.has(blob), path.read_bytes()) == (True, data)
    assert path.stat().st_mode & 0o777 == 0o400
    assert list((tmp_path / "partial").iterdir()) == []


def test_an_incomplete_blob_is_not_in_the_store(tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(2 * CHUNK_BYTES)
    partial = opened(store, data)
    fill(partial, data, [0])
    partial.close()

    assert not store.has(partial.blob)


def test_a_blob_of_another_length_is_not_the_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob = put(store, content(100))

    assert not store.has(Blob(blob.digest, 99))


def test_a_chunk_is_written_once_and_only_when_its_bytes_fit(tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(2 * CHUNK_BYTES + 10)
    partial = opened(store, data)
    assert not partial.add(0, memoryview(bytes(CHUNK_BYTES)))
    assert not partial.add(0, memoryview(data[:100]))
    assert not partial.add(2, memoryview(data[2 * CHUNK_BYTES :] + b"x"))
    assert (partial.missing, partial.have_bytes) == (3, 0)
    fill(partial, data, [2, 0, 0])

    assert (partial.missing, partial.have_bytes) == (1, CHUNK_BYTES + 10)
    assert [partial.has(index) for index in range(3)] == [True, False, True]
    partial.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)))
def test_what_came_before_a_restart_is_there_after_it(tmp_path: Path, first: set[int], second: set[int]) -> None:
    data = content(9 * CHUNK_BYTES - 5)
    blob, _ = describe_bytes(data)
    store = Store(tmp_path / f"{sorted(first)}{sorted(second)}")
    put(store, describe_bytes(data)[1][0])
    for indices in (first, second):
        partial = store.open_partial(blob)
        fill(partial, data, sorted(indices))
        partial.close()
    partial = store.open_partial(blob)

    assert {index for index in range(9) if partial.has(index)} == first | second
    assert partial.missing == 9 - len(first | second)
    fill(partial, data, range(9))
    partial.finish()
    assert store.path(blob.digest).read_bytes() == data


def test_a_bit_whose_bytes_were_lost_is_not_believed(tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(3 * CHUNK_BYTES)
    partial = opened(store, data)
    fill(partial, data, range(3))
    partial.close()
    path = tmp_path / "partial" / partial.blob.digest
    with path.open("r+b") as file:
        file.seek(CHUNK_BYTES)
        file.write(bytes(CHUNK_BYTES))

    again = store.open_partial(partial.blob)
    assert [again.has(index) for index in range(3)] == [True, False, True]
    fill(again, data, [1])
    again.finish()
    assert store.path(partial.blob.digest).read_bytes() == data


@pytest.mark.parametrize("damage", [b"", b"\xff", b"\xff" * 50])
def test_any_map_may_lie_and_nothing_is_believed(damage: bytes, tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(3 * CHUNK_BYTES)
    partial = opened(store, data)
    partial.close()
    (tmp_path / "partial" / f"{partial.blob.digest}.map").write_bytes(damage)

    again = store.open_partial(partial.blob)
    assert again.missing == 3
    fill(again, data, range(3))
    again.finish()
    assert store.has(partial.blob)


def test_a_partial_file_that_is_too_long_is_cut(tmp_path: Path) -> None:
    store, data = Store(tmp_path), content(CHUNK_BYTES + 1)
    partial = opened(store, data)
    partial.close()
    (tmp_path / "partial" / partial.blob.digest).write_bytes(data + b"more")

    again = store.open_partial(partial.blob)
    fill(again, data, range(2))
    again.finish()
    assert store.path(partial.blob.digest).read_bytes() == data


def test_an_artifact_that_contradicts_itself_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data, other = content(2 * CHUNK_BYTES), content(2 * CHUNK_BYTES, seed=2)
    honest, lists = describe_bytes(data)
    put(store, lists[0])
    liar = Blob(describe_bytes(other)[0].digest, honest.size_bytes, honest.chunks)
    partial = store.open_partial(liar)
    fill(partial, data, range(2))

    with pytest.raises(Rejected, match="does not have its digest") as caught:
        partial.finish()
    assert caught.value.code == "digest-mismatch"
    assert list((tmp_path / "partial").iterdir()) == []
    assert not store.has(liar)


def test_a_missing_chunk_list_is_said(tmp_path: Path) -> None:
    blob, _ = describe_bytes(content(2 * CHUNK_BYTES))

    with pytest.raises(Unfit) as caught:
        Store(tmp_path).open_partial(blob)
    assert caught.value.code == "blob-missing"


@pytest.mark.parametrize("call", ["add", "open"])
def test_a_full_disk_is_this_device_s_error(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, data = Store(tmp_path), content(2 * CHUNK_BYTES)
    partial = opened(store, data)
    write = os.pwrite

    def full(descriptor: int, part: bytes, offset: int) -> int:
        if len(part) > 1 or call == "open":
            raise OSError(28, "No space left on device")
        return write(descriptor, part, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unfit) as caught:
        fill(partial, data, [0]) if call == "add" else store.open_partial(partial.blob)
    monkeypatch.undo()

    assert caught.value.code == "disk-full"
    assert not partial.has(0)
    fill(partial, data, range(2))  # with space again, it goes on
    partial.finish()
    assert store.has(partial.blob)


def test_opening_again_lets_no_descriptor_leak_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, data = Store(tmp_path), content(2 * CHUNK_BYTES)
    partial = opened(store, data)
    partial.close()
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    for _ in range(3):
        with pytest.raises(Unfit):
            store.open_partial(partial.blob)

    assert len(os.listdir("/proc/self/fd")) == before


def test_garbage_is_what_nobody_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept, gone = put(store, content(10)), put(store, content(20, seed=2))
    half, lost = opened(store, content(2 * CHUNK_BYTES, seed=3)), opened(store, content(2 * CHUNK_BYTES, seed=4))
    half.close()
    lost.close()
    store.keep_only({kept.digest, half.blob.digest})

    assert (store.has(kept), store.has(gone)) == (True, False)
    assert sorted(path.name for path in (tmp_path / "partial").iterdir()) == sorted([half.blob.digest, f"{half.blob.digest}.map"])


def test_collecting_says_what_it_freed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, content(1234))

    assert (store.keep_only([]), store.keep_only([])) == (1234, 0)


def test_a_build_s_files_live_on_when_their_blobs_are_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob = put(store, content(100))
    store.lay_out(Artifact({"model.onnx": blob}), tmp_path / "work")
    store.keep_only([])

    assert (tmp_path / "work" / "model.onnx").read_bytes() == content(100)


def test_a_file_that_must_be_one_of_its_own_is_copied_and_the_others_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    blob, other = put(store, content(100)), put(store, content(200, seed=2))
    store.lay_out(Artifact({"model.onnx": blob, "weights.data": other}), tmp_path / "work", copies=["weights.data"])

    assert (tmp_path / "work" / "weights.data").read_bytes() == content(200, seed=2)
    assert {path.name: path.stat().st_nlink for path in (tmp_path / "work").iterdir()} == {"model.onnx": 2, "weights.data": 1}


def test_a_file_whose_blob_has_gone_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(Unfit) as caught:
        store.lay_out(Artifact({"model.onnx": Blob("0" * 64, 5)}), tmp_path / "work")

    assert (caught.value.code, "model.onnx" in caught.value.message) == ("blob-missing", True)
