from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgewright.controller import chunks
from edgewright.controller.blobs import BlobStore
from edgewright.controller.chunks import MAX_GET_BYTES, ChunkServer
from edgewright.core.artifact import Blob
from edgewright.core.wire.frames import CHUNK_BYTES, Frame, chunk_count, chunk_size_bytes, decode_frame
from edgewright.core.wire.messages import Get, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WAIT_S = 20.0
ASK = "ew/v1/fleet/board-1/get"
ANSWER = "ew/v1/fleet/board-1/blob"
COUNT = 30


class Served:
    """A chunk server and what it has sent."""

    def __init__(self, folder: Path) -> None:
        self.data = os.urandom((COUNT - 1) * CHUNK_BYTES + 10)
        store = BlobStore(folder)
        self.blob: Blob = store.add_bytes(self.data)
        self.marker = store.add_bytes(b"marker")
        self.server = ChunkServer("fleet", store, self.send, lambda digest: digest not in self.others, lambda digest: self.wanting)
        self.sent: list[tuple[str, Frame]] = []
        self.unknown: list[str] = []
        self.takes = True
        self.others: set[str] = set()
        self.wanting = 0
        self._changed = threading.Condition()

    def send(self, name: str, payload: bytes) -> bool:
        with self._changed:
            frame = decode_frame(payload)
            if frame.is_unknown:
                self.unknown.append(frame.digest)
            self.sent.append((name, frame))
            self._changed.notify_all()
            return self.takes

    def ask(self, *ranges: tuple[int, int], window: int = 20, digest: str | None = None, name: str = ASK, **who: Any) -> None:
        fields = {"v": 1, "fleet": "fleet", "device": "board-1", "digest": digest or self.blob.digest, "ranges": ranges, "window": window}
        assert self.server.ask(name, json.dumps(fields | who).encode())

    def answers(self) -> list[int]:
        """The indices of all chunks of the blob that were sent by now, each verified."""
        self.takes = True
        self.ask((0, 0), digest=self.marker.digest)
        with self._changed:
            assert self._changed.wait_for(lambda: any(frame.digest == self.marker.digest for _, frame in self.sent), WAIT_S)
        frames = [frame for _, frame in self.sent if frame.digest == self.blob.digest]
        assert all(name == ANSWER for name, _ in self.sent)
        assert all(bytes(frame.data) == self.data[frame.index * CHUNK_BYTES :][:CHUNK_BYTES] for frame in frames)
        self.sent = []
        return [frame.index for frame in frames]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.server.start()
    yield served
    served.server.stop()
    assert not served.server._thread.is_alive()


def test_a_request_for_what_another_process_serves_is_left_to_it(served: Served) -> None:
    served.others.add(served.blob.digest)
    served.ask((0, 5))

    assert served.answers() == []


def test_chunks_are_sent_in_the_order_of_the_request(served: Served) -> None:
    served.ask((3, 5), (0, 1), (COUNT - 1, COUNT - 1))

    assert served.answers() == [3, 4, 5, 0, 1, COUNT - 1]


@pytest.mark.parametrize(
    ("ranges", "window", "expected"),
    [
        (((0, 29),), 5, [0, 1, 2, 3, 4]),
        (((0, 1), (10, 29)), 5, [0, 1, 10, 11, 12]),
        (((0, 29),), 2**53 - 1, list(range(20))),
        (((0, 2**32 - 1),), 20, list(range(20))),
        (((0, 29),), 0, []),
        (((5, 4),), 20, []),
        (((28, 2**32 - 1),), 20, [28, 29]),
        (((2**32 - 1, 2**32 - 1), (7, 7)), 20, [7]),
        ((), 20, []),
        (tuple((9, 9) for _ in range(100)), 3, [9, 9, 9]),
    ],
)
def test_no_request_gets_more_than_its_window_and_the_limit(
    served: Served, ranges: tuple[tuple[int, int], ...], window: int, expected: list[int]
) -> None:
    served.ask(*ranges, window=window)

    assert served.answers() == expected


def test_a_blob_that_is_not_there_is_told_once(served: Served) -> None:
    served.ask((0, 5), digest="0" * 64)
    served.ask((0, 0))

    assert served.answers() == [0]
    assert served.unknown == ["0" * 64]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"\xff",
        json.dumps({"v": 1, "fleet": "fleet", "device": "board-1", "digest": "xyz", "ranges": [[0, 0]], "window": 1}).encode(),
        json.dumps({"v": 1, "fleet": "fleet", "device": "board-1", "digest": "0" * 64, "ranges": [[10**30, 10**31]], "window": 1}).encode(),
        json.dumps({"v": 1, "fleet": "fleet", "device": "board-1", "digest": "0" * 64, "ranges": [[-5, 3]], "window": 1}).encode(),
    ],
)
def test_a_malformed_request_is_dropped_and_the_next_one_served(served: Served, payload: bytes) -> None:
    served.server.ask(ASK, payload)
    served.ask((1, 1))

    assert served.answers() == [1]


@given(payload=st.binary(max_size=200))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_end_the_serving(served: Served, payload: bytes) -> None:
    served.server.ask(ASK, payload)
    served.ask((2, 2))

    assert served.answers() == [2]


@pytest.mark.parametrize("who", [{"device": "board-2"}, {"fleet": "other"}])
def test_a_request_in_anothers_name_is_dropped(served: Served, who: dict[str, str]) -> None:
    served.ask((0, 3), **who)

    assert served.answers() == []


def test_a_request_that_is_too_long_is_not_taken(served: Served) -> None:
    assert not served.server.ask(ASK, bytes(MAX_GET_BYTES + 1))


def test_the_longest_request_of_an_agent_is_taken(served: Served) -> None:
    ranges = tuple((2**32 - 1 - 2 * number, 2**32 - 1 - 2 * number) for number in range(20))
    longest = encode(Get(fleet="f" * 64, device="d" * 64, digest="0" * 64, ranges=ranges, window=20))

    assert len(longest) < MAX_GET_BYTES
    assert served.server.ask(ASK, longest)


def test_when_the_link_takes_no_more_the_rest_of_the_request_is_dropped(served: Served) -> None:
    served.takes = False
    served.ask((0, 9))
    with served._changed:
        assert served._changed.wait_for(lambda: served.sent, WAIT_S)

    assert served.answers() == [0]


def test_a_request_that_waited_too_long_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "STALE_S", -1.0)
    served.ask((0, 3))
    served.server.stop()

    assert served.sent == []


def test_an_unexpected_failure_ends_one_request_only(served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    chunk = served.server._reader.chunk

    def fail_once(digest: str, index: int) -> Any:
        if index == 13:
            raise OSError(5, "Input/output error")
        return chunk(digest, index)

    monkeypatch.setattr(served.server._reader, "chunk", fail_once)
    served.ask((13, 14))
    served.ask((4, 4))

    assert served.answers() == [4]
    assert "could not be answered" in caplog.text


def test_a_server_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    ChunkServer("fleet", BlobStore(tmp_path), lambda _name, _frame: True, lambda _digest: True, lambda _digest: 0).stop()


def test_the_blob_of_these_tests_has_the_chunks_that_they_speak_of(served: Served) -> None:
    assert chunk_count(len(served.data)) == COUNT
    assert chunk_size_bytes(len(served.data), COUNT - 1) == 10


def test_what_many_want_is_sent_once_to_all_and_gaps_to_who_has_them(served: Served) -> None:
    served.wanting = 4
    boards = [f"board-{number}" for number in range(4)]
    for name in boards:
        served.ask((0, 7), name=f"ew/v1/fleet/{name}/get", device=name)
        for count in (0, COUNT):  # it says so early that it is far: the stream has no reason to wait
            served.ask(name=f"ew/v1/fleet/{name}/get", device=name, heard=count, window=0)
    with served._changed:
        assert served._changed.wait_for(lambda: [frame.index for _, frame in served.sent].count(COUNT - 1) == 1, WAIT_S)
        told = [name for name, frame in served.sent if frame.is_shared]
        stream = [(name, frame.index) for name, frame in served.sent if not frame.is_shared]
        served.sent = []
    assert told == [f"ew/v1/fleet/{name}/blob" for name in boards]
    assert stream == [(f"ew/v1/fleet/_all/blob/{served.blob.digest}", index) for index in range(COUNT)]
    served.ask((4, 5))  # it was board-1's

    assert served.answers() == [4, 5]
