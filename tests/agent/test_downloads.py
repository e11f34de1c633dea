"""One deployment's transfer, driven: what is asked, what is opened and finished where, and that it ends once."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgewright.agent.downloads import Downloads
from edgewright.agent.inbox import Request
from edgewright.agent.shortcuts import rebuild_request
from edgewright.agent.store import Store
from edgewright.core.artifact import Artifact, Blob, Delta, Shortcut
from edgewright.core.delta.codec import encode_delta
from edgewright.core.delta.recipe import encode_recipe
from edgewright.core.errors import Reason, Unfit
from edgewright.core.wire.frames import CHUNK_BYTES, encode_chunk
from edgewright.core.wire.messages import Order
from edgewright.pipeline.tasks import rebuild


class Rig:
    """A `Downloads` with fake lanes and a fake controller; `link` says whether requests go out."""

    def __init__(self, state: Path, fake_device: Any) -> None:
        self.clock, self.lanes, self.source = fake_device.FakeClock(), fake_device.FakeLanes(), fake_device.FakeSource()
        self.store = Store(state)
        self.link = True
        self.requests: deque[Request] = deque()
        self.ends: list[tuple[str, Reason | None]] = []
        self.given_up = 0
        self.rebuilt: list[Any] = []
        self.rebuild_fails: Unfit | None = None
        self.downloads = Downloads(
            self.store, self.lanes, self._ask, lambda *end: self.ends.append(end), self._give_up, self._rebuild, 8, 1.0, self.clock.monotonic_s
        )

    def _ask(self, request: Request) -> bool:
        if self.link:
            self.requests.append(request)
        return self.link

    def _rebuild(self, ways: Any, _cancel: Any) -> None:
        self.rebuilt.append(ways)
        if self.rebuild_fails is not None:
            raise self.rebuild_fails
        rebuild.run(msgspec.json.encode(rebuild_request(ways, self.store)), lambda _share, _note: None)

    def _give_up(self) -> None:
        self.given_up += 1

    def order(self, *contents: bytes, name: str = "d1") -> Order:
        files = {f"file{number}.onnx": self.source.add(data) for number, data in enumerate(contents)}
        return Order(deployment=name, version="1", model=Artifact(files), model_file="file0.onnx")

    def step(self) -> bool:
        if self.requests:
            for frame in self.source.frames(self.requests.popleft()):
                self.downloads.frame(frame)
            return True
        return self.lanes.run_next()

    def settle(self) -> None:
        while self.step():
            pass


@pytest.fixture
def rig(tmp_path: Path, fake_device: Any) -> Rig:
    return Rig(tmp_path, fake_device)


def content(chunks: int, byte: int = 1) -> bytes:
    return bytes([byte]) * (chunks * CHUNK_BYTES - 3)


def test_a_transfer_brings_every_blob_and_ends_once(rig: Rig) -> None:
    order = rig.order(content(3), content(1, 2))
    rig.downloads.start("m", order)
    rig.settle()

    assert rig.ends == [("m", None)]
    assert all(rig.store.has(blob) for blob in order.model.files.values())
    assert (rig.downloads.model, rig.downloads.next_timeout_s(), rig.downloads.progress("m")) == ("", None, (0, 0))


def test_both_ends_of_a_blob_are_a_lane_s_work(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1)))
    assert [name.partition(" ")[0] for name in rig.lanes.names()] == ["open"]
    rig.lanes.run_next()
    assert rig.lanes.names() == []
    rig.step()

    assert [name.partition(" ")[0] for name in rig.lanes.names()] == ["finish"]
    assert rig.ends == []


def test_progress_is_the_model_s_own(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1), content(1, 2)))
    rig.step()
    rig.step()

    assert rig.downloads.progress("m") == (CHUNK_BYTES - 3, 2 * (CHUNK_BYTES - 3))
    assert rig.downloads.progress("other") == (0, 0)


def test_a_blob_that_two_files_share_comes_once(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1), content(1)))
    rig.settle()

    assert (rig.ends, sum(rig.source.asked.values())) == ([("m", None)], 1)


def test_without_a_connection_nothing_is_counted_as_asked(rig: Rig) -> None:
    rig.link = False
    rig.downloads.start("m", rig.order(content(3)))
    rig.settle()
    assert (rig.downloads.next_timeout_s(), rig.ends) == (None, [])
    rig.link = True
    rig.downloads.pump()
    rig.settle()

    assert rig.ends == [("m", None)]


def test_a_request_that_was_lost_is_made_again_in_time(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1)))
    rig.lanes.run_next()
    rig.requests.clear()
    due_s = rig.downloads.next_timeout_s()
    assert due_s is not None
    rig.downloads.pump()
    assert not rig.requests
    rig.clock.monotonic_now_s = due_s
    rig.downloads.pump()
    rig.settle()

    assert rig.ends == [("m", None)]


def test_a_malformed_frame_is_dropped(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1)))
    rig.lanes.run_next()
    for payload in (b"", b"\x01", bytes(50), b"\xff" * 100):
        rig.downloads.frame(payload)
    rig.settle()

    assert rig.ends == [("m", None)]


def test_frames_without_a_transfer_are_dropped(rig: Rig) -> None:
    rig.downloads.frame(encode_chunk("0" * 64, 0, b"x"))

    assert rig.lanes.names() == []


def test_a_blob_that_is_refused_ends_the_transfer_and_goes(rig: Rig, tmp_path: Path) -> None:
    rig.source.spoil = lambda _digest, _index, data: bytes(len(data))
    rig.downloads.start("m", rig.order(content(1)))
    rig.settle()

    assert [(model, reason.code if reason else "") for model, reason in rig.ends] == [("m", "chunk-corrupt")]
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_disk_that_fails_ends_the_transfer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    rig.downloads.start("m", rig.order(content(1)))
    rig.lanes.run_next()
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.agent.store._write_all", broken)
        rig.settle()

    assert [(model, reason.code if reason else "") for model, reason in rig.ends] == [("m", "disk-failed")]


def test_a_blob_that_cannot_be_opened_ends_the_transfer(rig: Rig, tmp_path: Path) -> None:
    order = rig.order(content(1))
    (tmp_path / "partial" / next(iter(order.model.files.values())).digest).mkdir()
    rig.downloads.start("m", order)
    rig.settle()

    assert len(rig.ends) == 1
    assert rig.ends[0][1] is not None


def test_what_was_given_up_is_taken_up_by_the_next_transfer(rig: Rig) -> None:
    order = rig.order(content(1), content(1, 2), content(1, 3))
    rig.downloads.start("m", order)
    for _ in range(6):
        rig.step()
    rig.downloads.stop("m")
    rig.requests.clear()
    assert (rig.downloads.model, rig.ends) == ("", [])
    rig.downloads.start("m", order)
    rig.settle()

    assert rig.ends == [("m", None)]
    assert max(rig.source.asked.values()) == 1


def test_stopping_another_model_s_transfer_changes_nothing(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1)))
    rig.downloads.stop("other")
    rig.settle()

    assert rig.ends == [("m", None)]


@pytest.mark.parametrize("job", ["open", "finish"])
def test_a_new_transfer_waits_until_the_lane_lets_go_of_the_last_one_s_blob(rig: Rig, job: str) -> None:
    """Both want the same blob: two at once on one file would spoil it."""
    order = rig.order(content(1))
    digest = next(iter(order.model.files.values())).digest
    rig.downloads.start("first", order)
    while not rig.lanes.names() or not rig.lanes.names()[0].startswith(job):
        rig.step()
    rig.downloads.stop("first")
    rig.downloads.start("second", order)
    assert (len(rig.lanes.names()), rig.downloads.at_disk) == (1, digest)
    rig.settle()

    assert (rig.ends, rig.downloads.at_disk) == ([("second", None)], "")
    assert rig.store.has(Blob(digest, CHUNK_BYTES - 3))


def test_a_blob_that_was_finished_for_nobody_is_told_to_be_garbage(rig: Rig) -> None:
    rig.downloads.start("m", rig.order(content(1)))
    while not any(name.startswith("finish") for name in rig.lanes.names()):
        assert rig.step()
    rig.downloads.stop("m")
    rig.settle()

    assert (rig.given_up, rig.downloads.at_disk, rig.ends) == (1, "", [])


# --- shorter ways ---


def with_ways(rig: Rig, tmp_path: Path, base: bytes, target: bytes, *, deltas: bool = True) -> tuple[Order, Order]:
    """Two versions, and the second one's shorter ways; the first one is on the device."""
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "target").write_bytes(target)
    first, second = rig.order(base), rig.order(target, name="d2")
    ways = (Delta(first.model.files["file0.onnx"].digest, rig.source.add(encode_delta(tmp_path / "base", tmp_path / "target"))),)
    shortcut = Shortcut(recipe=rig.source.add(encode_recipe(tmp_path / "target")), deltas=ways if deltas else ())
    rig.downloads.start("m", first)
    rig.settle()
    rig.source.asked.clear()
    return first, msgspec.structs.replace(second, shortcuts={second.model.files["file0.onnx"].digest: shortcut})


def chunks_asked(rig: Rig, blob: Blob) -> int:
    return sum(digest == blob.digest for digest, _ in rig.source.asked)


BASE = random.Random(1).randbytes(10 * CHUNK_BYTES)
TARGET = BASE[: 4 * CHUNK_BYTES] + b"new" + BASE[4 * CHUNK_BYTES :]


def test_a_delta_from_what_is_there_spares_the_file(rig: Rig, tmp_path: Path) -> None:
    _, order = with_ways(rig, tmp_path, BASE, TARGET)
    rig.downloads.start("m", order)
    rig.settle()
    (blob,) = order.model.files.values()

    assert (rig.ends[-1], rig.store.path(blob.digest).read_bytes()) == (("m", None), TARGET)
    assert chunks_asked(rig, blob) == 0
    assert len(rig.rebuilt) == 1


def test_without_a_delta_for_its_base_the_pieces_that_are_there_are_used(rig: Rig, tmp_path: Path) -> None:
    _, order = with_ways(rig, tmp_path, BASE, TARGET, deltas=False)
    rig.downloads.start("m", order)
    rig.settle()
    (blob,) = order.model.files.values()

    assert (rig.ends[-1], rig.store.path(blob.digest).read_bytes()) == (("m", None), TARGET)
    assert chunks_asked(rig, blob) <= 2


def test_a_device_that_has_nothing_fetches_the_file_alone(rig: Rig, tmp_path: Path) -> None:
    first, order = with_ways(rig, tmp_path, BASE, TARGET)
    rig.store.path(first.model.files["file0.onnx"].digest).unlink()
    rig.downloads.start("m", order)
    rig.settle()
    (blob,) = order.model.files.values()

    assert (rig.ends[-1], chunks_asked(rig, blob), rig.rebuilt) == (("m", None), 11, [])


@pytest.mark.parametrize("why", ["the delta lies", "the worker fails", "the controller has no delta", "a chunk of it is spoilt"])
def test_a_way_that_leads_nowhere_is_followed_by_the_whole_file(rig: Rig, tmp_path: Path, why: str) -> None:
    _, order = with_ways(rig, tmp_path, BASE, TARGET)
    (blob,), (shortcut,) = order.model.files.values(), order.shortcuts.values()
    delta = shortcut.deltas[0].blob
    if why == "the delta lies":
        (tmp_path / "other").write_bytes(random.Random(2).randbytes(len(TARGET)))
        lie = rig.source.add(encode_delta(tmp_path / "base", tmp_path / "other"))
        order = msgspec.structs.replace(order, shortcuts={blob.digest: Shortcut(deltas=(Delta(shortcut.deltas[0].base, lie),))})
    elif why == "the worker fails":
        rig.rebuild_fails = Unfit("out-of-memory", "none left", "")
    elif why == "the controller has no delta":
        del rig.source.blobs[delta.digest]
    else:
        rig.source.spoil = lambda digest, _index, data: bytes(len(data)) if digest == delta.digest else data
    rig.downloads.start("m", order)
    rig.settle()
    while rig.downloads.model:
        rig.clock.pass_s(60.0)
        rig.downloads.pump()
        rig.settle()

    assert (rig.ends[-1], rig.store.path(blob.digest).read_bytes()) == (("m", None), TARGET)
    assert chunks_asked(rig, blob) == 11


def test_what_came_before_a_restart_is_kept_instead_of_a_shorter_way(rig: Rig, tmp_path: Path) -> None:
    _, order = with_ways(rig, tmp_path, BASE, TARGET)
    plain = msgspec.structs.replace(order, shortcuts={})
    rig.downloads.start("m", plain)
    while not chunks_asked(rig, next(iter(order.model.files.values()))):
        rig.step()
    rig.downloads.stop("m")
    rig.requests.clear()
    rig.downloads.start("m", order)
    rig.settle()

    assert (rig.ends[-1], rig.rebuilt) == (("m", None), [])


def test_a_transfer_that_is_given_up_while_it_is_rebuilt_goes_nowhere(rig: Rig, tmp_path: Path) -> None:
    _, order = with_ways(rig, tmp_path, BASE, TARGET)
    rig.downloads.start("m", order)
    while "rebuild" not in rig.lanes.names():
        assert rig.step()
    rig.downloads.stop("m")
    rig.settle()

    assert (len(rig.ends), rig.downloads.at_disk, rig.given_up) == (1, "", 1)
