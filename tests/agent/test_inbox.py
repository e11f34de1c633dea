"""The windowed pull. The pace by hand-made arithmetic; the transfer against links that lose, repeat, reorder, spoil and break."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.agent.inbox import LISTEN_S, MAX_BAD, MAX_UNKNOWN, MAX_WINDOW, TELL_EVERY, Pace, Request, Transfer
from edgewright.agent.store import Store
from edgewright.core.artifact import Blob, describe_bytes
from edgewright.core.errors import EdgewrightError, Rejected
from edgewright.core.wire.frames import CHUNK_BYTES, Frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def pace(window: float = 8.0, timeout_s: float = 1.0) -> Pace:
    return Pace(window, timeout_s, timeout_s)


# --- the pace ---


def test_the_window_grows_by_one_when_one_window_came_whole() -> None:
    it = pace(4.0)
    for _ in range(4):
        it.arrived(0.1)

    assert 4.8 < it.window < 5.0  # a little less than 5: each step is 1/window of a window that grows
    assert it.chunks == 4


def test_the_window_never_leaves_its_bounds() -> None:
    it = pace(19.9)
    for _ in range(100):
        it.arrived(0.1)
    assert it.chunks == MAX_WINDOW == 20
    for _ in range(10):
        it.timed_out()
    assert it.chunks == 1


def test_a_time_out_halves_the_window_and_doubles_the_patience() -> None:
    it = pace(8.0, 1.0)
    it.timed_out()

    assert (it.window, it.timeout_s) == (4.0, 2.0)


def test_the_patience_follows_the_answers_as_rfc_6298_says() -> None:
    it = pace(8.0, 0.1)
    it.arrived(1.0)
    assert it.timeout_s == pytest.approx(1.0 + 4 * 0.5)
    it.arrived(2.0)  # deviation 0.75·0.5 + 0.25·1 = 0.625; smooth 0.875·1 + 0.125·2 = 1.125
    assert it.timeout_s == pytest.approx(1.125 + 4 * 0.625)


def test_an_answer_that_cannot_be_told_from_another_changes_no_patience() -> None:
    it = pace(8.0, 1.0)
    it.timed_out()
    it.arrived(None)

    assert (it.timeout_s, it.window > 4.0) == (2.0, True)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6), st.just("late")), max_size=60))
def test_whatever_comes_the_patience_keeps_its_bounds(answers: list[Any]) -> None:
    it = pace(8.0, 0.5)
    for answer in answers:
        if answer == "late":
            it.timed_out()
        else:
            it.arrived(answer)

        assert 0.5 <= it.timeout_s <= 60.0
        assert 1 <= it.chunks <= MAX_WINDOW


# --- the transfer ---


def content(chunks: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(chunks * CHUNK_BYTES - 7 if chunks else 0)


class Driver:
    """Does for a transfer what `Downloads` does, without lanes; `source` has every blob."""

    def __init__(self, state: Path, *contents: bytes, window: float = 8.0) -> None:
        self.store = Store(state)
        self.source: dict[str, bytes] = {}
        blobs: dict[str, Blob] = {}
        for data in contents:
            _blob, lists = describe_bytes(data)
            for each in (*reversed(lists), data):
                described, _ = describe_bytes(each)
                self.source[described.digest] = each
                blobs[described.digest] = described
        self.blobs = tuple(blobs.values())
        self.window = window
        self.now_s = 0.0
        self.restart()

    def restart(self) -> None:
        self.transfer = Transfer(self.store, self.blobs, pace(self.window))

    def prepare(self) -> None:
        """Open and finish whatever can be."""
        while True:
            if self.transfer.whole is not None:
                self.transfer.whole.finish()
                self.transfer.finished()
            elif (blob := self.transfer.to_open()) is not None:
                self.transfer.opened(self.store.open_partial(blob))
            else:
                return

    def request(self) -> Request | None:
        self.prepare()
        return self.transfer.next_request(self.now_s)

    def frames(self, request: Request) -> list[Frame]:
        data = self.source[request.digest]
        return [self.frame(request.digest, index, data) for first, last in request.ranges for index in range(first, last + 1)]

    @staticmethod
    def frame(digest: str, index: int, data: bytes) -> Frame:
        return Frame(digest, index, memoryview(data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]))

    def are_all_there(self) -> bool:
        return all(self.store.has(blob) and self.store.path(blob.digest).read_bytes() == self.source[blob.digest] for blob in self.blobs)


def indices(request: Request | None) -> list[int]:
    assert request is not None
    return [index for first, last in request.ranges for index in range(first, last + 1)]


@pytest.fixture
def drive(tmp_path: Path) -> Callable[..., Driver]:
    return lambda *chunks, **options: Driver(tmp_path, *(content(count, seed=count) for count in chunks), **options)


def skip_to_data(driver: Driver) -> str:
    """Let the chunk list come; returns the digest of the blob that is under way then."""
    while driver.transfer.partial is None or driver.transfer.partial.blob.chunks is None:
        request = driver.request()
        if request is None:
            continue
        if driver.transfer.partial is not None and driver.transfer.partial.blob.chunks is not None:
            driver.transfer.forget_requests()
            break
        for frame in driver.frames(request):
            driver.transfer.take(frame, driver.now_s)
    return driver.transfer.partial.blob.digest


def test_a_chunk_list_comes_before_what_it_lists(drive: Callable[..., Driver]) -> None:
    driver = drive(3)
    first = driver.request()

    assert first is not None
    assert len(driver.source[first.digest]) == 3 * 32


def test_no_more_than_a_window_is_asked_for_and_the_next_only_when_half_is_free(drive: Callable[..., Driver]) -> None:
    driver = drive(30, window=8.0)
    digest = skip_to_data(driver)
    request = driver.request()
    assert (indices(request), request.window if request else 0) == (list(range(8)), 8)
    assert driver.request() is None
    data = driver.source[digest]
    for index in (0, 1, 2):
        driver.transfer.take(driver.frame(digest, index, data), driver.now_s)
    assert driver.request() is None
    driver.transfer.take(driver.frame(digest, 3, data), driver.now_s)

    assert indices(driver.request())[:4] == [8, 9, 10, 11]


def test_gaps_are_asked_for_as_ranges(drive: Callable[..., Driver]) -> None:
    driver = drive(10, window=8.0)
    digest = skip_to_data(driver)
    for index in (1, 2, 5):
        driver.transfer.take(driver.frame(digest, index, driver.source[digest]), 0.0)
    request = driver.request()

    assert request is not None
    assert request.ranges == ((0, 0), (3, 4), (6, 9))


def test_a_lost_chunk_is_asked_for_again_when_nothing_comes_any_more(drive: Callable[..., Driver]) -> None:
    driver = drive(8, window=8.0)
    digest = skip_to_data(driver)
    driver.request()
    driver.now_s = 0.5
    for index in (0, 1, 2, 3, 4, 6, 7):  # two later ones may have been overtaken, three may not
        driver.transfer.take(driver.frame(digest, index, driver.source[digest]), driver.now_s)
    assert driver.transfer.next_timeout_s == pytest.approx(0.5 + driver.transfer.pace.timeout_s)
    assert driver.request() is None
    driver.now_s = driver.transfer.next_timeout_s

    assert indices(driver.request()) == [5]
    assert driver.transfer.repeated == 1


def test_a_chunk_that_three_later_ones_overtook_is_asked_for_at_once_and_the_window_halves_once(drive: Callable[..., Driver]) -> None:
    driver = drive(30, window=8.0)
    digest = skip_to_data(driver)
    window = driver.transfer.pace.window
    asked = indices(driver.request())
    driver.now_s = 0.5
    for index in asked[2:4]:
        driver.transfer.take(driver.frame(digest, index, driver.source[digest]), driver.now_s)
    assert driver.transfer.repeated == 0
    driver.transfer.take(driver.frame(digest, asked[4], driver.source[digest]), driver.now_s)

    assert driver.transfer.repeated == 2
    assert driver.transfer.pace.window < window / 2 + 0.5
    patience_s = driver.transfer.pace.timeout_s
    again = indices(driver.request())
    assert again == asked[:1], "one is free in the smaller window"
    assert patience_s == driver.transfer.pace.timeout_s, "others come: nobody waits longer for it"


@pytest.mark.parametrize(("before_s", "after_s"), [(0.9, 0.9), (0.02, 0.9)], ids=["thin", "becomes thin"])
def test_on_a_thin_link_nothing_is_asked_for_twice_while_chunks_come(drive: Callable[..., Driver], before_s: float, after_s: float) -> None:
    """One chunk in 0.9 s: a window takes many times the time-out, and is on its way all the same."""
    driver = drive(60, window=8.0)
    skip_to_data(driver)
    asked: list[int] = []
    line: list[Frame] = []
    while not driver.transfer.is_complete:
        request = driver.request()
        if request is not None:
            asked += indices(request)
            line += driver.frames(request)
        if driver.transfer.is_complete:
            break
        driver.now_s += before_s if len(asked) < 40 else after_s
        driver.transfer.take(line.pop(0), driver.now_s)

    assert asked == list(range(60))
    assert driver.transfer.repeated == 0


def test_whatever_comes_starts_the_timer_anew(drive: Callable[..., Driver]) -> None:
    driver = drive(30, window=8.0)
    digest = skip_to_data(driver)
    driver.request()
    driver.now_s = 0.9
    driver.transfer.take(driver.frame(digest, 20, driver.source[digest]), driver.now_s)  # nobody asked for it: it teaches nothing
    driver.now_s = 1.5
    assert (driver.request(), driver.transfer.repeated) == (None, 0)
    driver.now_s = 1.9

    assert driver.transfer.next_timeout_s == driver.now_s
    assert indices(driver.request())[0] == 0


def test_the_first_answers_on_a_very_thin_link_teach_patience(drive: Callable[..., Driver]) -> None:
    """One chunk in 4 s, four times the time-out: what was asked for twice at the start is all that is."""
    driver = drive(60, window=8.0)
    skip_to_data(driver)
    line: list[Frame] = []
    sent = 0
    while not driver.are_all_there():
        due_s = driver.now_s + 4.0
        while driver.transfer.next_timeout_s is not None and driver.transfer.next_timeout_s < due_s:
            driver.now_s = driver.transfer.next_timeout_s
            request = driver.request()
            line += driver.frames(request) if request is not None else []
        driver.now_s = due_s
        request = driver.request()
        line += driver.frames(request) if request is not None else []
        if line:
            driver.transfer.take(line.pop(0), driver.now_s)
            sent += 1
        driver.prepare()

    assert sent <= 60 + 2 * 8


def test_an_answer_to_a_chunk_that_was_asked_for_twice_teaches_nothing(drive: Callable[..., Driver]) -> None:
    driver = drive(8, window=8.0)
    digest = skip_to_data(driver)
    driver.request()
    driver.now_s = 1.0
    driver.request()
    patience_s = driver.transfer.pace.timeout_s
    driver.now_s = 1.001  # the first answer, at last: not one after a millisecond
    driver.transfer.take(driver.frame(digest, 0, driver.source[digest]), driver.now_s)

    assert driver.transfer.pace.timeout_s == patience_s == 2.0


def test_a_chunk_that_nobody_asked_for_is_kept_when_it_fits(drive: Callable[..., Driver]) -> None:
    driver = drive(4)
    digest = skip_to_data(driver)
    for index in range(4):
        driver.transfer.take(driver.frame(digest, index, driver.source[digest]), 0.0)
    driver.prepare()

    assert driver.transfer.is_complete
    assert driver.are_all_there()


def test_what_belongs_to_another_blob_or_lies_behind_the_end_is_ignored(drive: Callable[..., Driver]) -> None:
    driver = drive(4)
    digest = skip_to_data(driver)
    driver.transfer.take(Frame("0" * 64, 0, memoryview(b"x")), 0.0)
    driver.transfer.take(Frame(digest, 4, memoryview(b"x")), 0.0)
    driver.transfer.take(Frame(digest, 2**32 - 1, memoryview(b"x")), 0.0)

    assert driver.transfer.partial is not None
    assert driver.transfer.partial.missing == 4


def test_a_spoiled_chunk_is_asked_for_again_and_refused_the_third_time(drive: Callable[..., Driver]) -> None:
    driver = drive(4, window=4.0)
    digest = skip_to_data(driver)
    for attempt in range(MAX_BAD - 1):
        assert 1 in indices(driver.request()) or attempt
        driver.transfer.take(Frame(digest, 1, memoryview(bytes(CHUNK_BYTES))), 0.0)
        driver.now_s += 2
    with pytest.raises(Rejected, match="chunk 1") as caught:
        driver.transfer.take(Frame(digest, 1, memoryview(bytes(CHUNK_BYTES))), 0.0)

    assert caught.value.code == "chunk-corrupt"


def test_spoiled_chunks_are_counted_one_by_one(drive: Callable[..., Driver]) -> None:
    driver = drive(6)
    digest = skip_to_data(driver)
    for index in range(6):
        for _ in range(MAX_BAD - 1):
            driver.transfer.take(Frame(digest, index, memoryview(b"spoiled")), 0.0)

    assert driver.transfer.partial is not None
    assert driver.transfer.partial.missing == 6


def test_a_blob_that_the_controller_does_not_have_is_refused_the_third_time(drive: Callable[..., Driver]) -> None:
    driver = drive(2)
    digest = skip_to_data(driver)
    unknown = Frame(digest, 0, memoryview(b""), is_unknown=True)
    for _ in range(MAX_UNKNOWN - 1):
        driver.transfer.take(unknown, 0.0)
    driver.transfer.take(driver.frame(digest, 0, driver.source[digest]), 0.0)  # it has it after all
    for _ in range(MAX_UNKNOWN - 1):
        driver.transfer.take(unknown, 0.0)
    with pytest.raises(Rejected) as caught:
        driver.transfer.take(unknown, 0.0)

    assert caught.value.code == "blob-unknown"


def test_a_broken_connection_costs_what_was_under_way_and_no_more(drive: Callable[..., Driver]) -> None:
    driver = drive(20, window=8.0)
    digest = skip_to_data(driver)
    lost = indices(driver.request())
    for index in lost[:3]:
        driver.transfer.take(driver.frame(digest, index, driver.source[digest]), 0.0)
    driver.transfer.forget_requests()

    assert (driver.transfer.under_way, driver.transfer.next_timeout_s) == (0, None)
    assert indices(driver.request())[0] == 3


def test_what_is_in_the_store_is_not_asked_for(drive: Callable[..., Driver]) -> None:
    driver = drive(2, 3)
    while (request := driver.request()) is not None:
        for frame in driver.frames(request):
            driver.transfer.take(frame, 0.0)
    assert driver.are_all_there()
    driver.restart()

    assert driver.request() is None
    assert driver.transfer.is_complete


def test_progress_counts_bytes(drive: Callable[..., Driver]) -> None:
    driver = drive(4)
    digest = skip_to_data(driver)
    total = 4 * CHUNK_BYTES - 7 + 4 * 32
    assert (driver.transfer.bytes_done, driver.transfer.bytes_total) == (4 * 32, total)
    driver.transfer.take(driver.frame(digest, 3, driver.source[digest]), 0.0)

    assert driver.transfer.bytes_done == 4 * 32 + CHUNK_BYTES - 7


def test_giving_up_keeps_what_came_and_discarding_does_not(drive: Callable[..., Driver], tmp_path: Path) -> None:
    driver = drive(4)
    digest = skip_to_data(driver)
    driver.transfer.take(driver.frame(digest, 3, driver.source[digest]), 0.0)
    driver.transfer.close()
    driver.restart()
    driver.prepare()
    assert driver.transfer.partial is not None
    assert driver.transfer.partial.has(3)
    driver.transfer.discard()

    assert list((tmp_path / "partial").iterdir()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 25), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.6),
    spoil=st.floats(0, 0.1),
    breaks=st.floats(0, 0.1),
    window=st.integers(1, 20),
)
def test_whatever_the_link_does_everything_comes_and_no_window_is_overdrawn(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, loss: float, spoil: float, breaks: float, window: int
) -> None:
    rng = random.Random(seed)
    driver = Driver(tmp_path_factory.mktemp("link"), *(content(size, seed=size) for size in sizes), window=float(window))
    line: list[Frame] = []
    try:
        for _ in range(20_000):
            request = driver.request()
            if driver.transfer.is_complete:
                break
            if request is not None:
                assert len(indices(request)) == request.window <= MAX_WINDOW
                line += [frame for frame in driver.frames(request) for _ in range(rng.choice((1, 1, 1, 2))) if rng.random() >= loss]
                rng.shuffle(line)
            assert driver.transfer.under_way <= MAX_WINDOW
            if rng.random() < breaks:
                line.clear()
                driver.transfer.forget_requests()
            elif rng.random() < breaks / 4:
                driver.transfer.close()
                driver.restart()
            elif line:
                frame = line.pop()
                is_spoiled = rng.random() < spoil
                driver.transfer.take(Frame(frame.digest, frame.index, memoryview(b"?")) if is_spoiled else frame, driver.now_s)
                driver.now_s += 0.01
            elif driver.transfer.next_timeout_s is not None:
                driver.now_s = driver.transfer.next_timeout_s
    except EdgewrightError as error:
        # Bad luck three times with one chunk.
        if error.code == "chunk-corrupt" and spoil > 0:
            return
        raise
    finally:
        driver.transfer.close()

    assert driver.are_all_there()


# --- listening to a broadcast ---


def shared(digest: str) -> Frame:
    return Frame(digest, 0, memoryview(b""), is_shared=True)


def listening(driver: Driver) -> tuple[str, bytes]:
    """A transfer that was told to listen; the digest and bytes of its blob."""
    digest = skip_to_data(driver)
    driver.request()
    driver.transfer.take(shared(digest), driver.now_s)
    return digest, driver.source[digest]


def test_told_that_many_want_it_it_asks_for_nothing_and_says_what_it_has_heard(drive: Callable[..., Driver]) -> None:
    driver = drive(30)
    digest, data = listening(driver)
    assert driver.request() == Request(digest, (), 0, heard=0)
    said = []
    for index in range(29):
        driver.now_s += 1.0  # slower than any time-out, and steady
        driver.transfer.take(driver.frame(digest, index, data), driver.now_s)
        said.append(driver.request())
    driver.transfer.take(driver.frame(digest, 29, data), driver.now_s)
    driver.prepare()

    assert [request.heard for request in said if request is not None] == [TELL_EVERY, 2 * TELL_EVERY, 3 * TELL_EVERY]
    assert driver.are_all_there()


def test_after_the_last_chunk_it_asks_for_the_gaps_alone(drive: Callable[..., Driver]) -> None:
    driver = drive(30)
    digest, data = listening(driver)
    for index in (*range(5), *range(6, 20), *range(22, 30)):
        driver.transfer.take(driver.frame(digest, index, data), driver.now_s)
    request = driver.request()
    assert indices(request) == [5, 20, 21]
    for frame in driver.frames(request):  # type: ignore[arg-type] # checked above
        driver.transfer.take(frame, driver.now_s)
    driver.prepare()

    assert driver.are_all_there()


def test_when_the_stream_falls_silent_it_pulls_the_rest(drive: Callable[..., Driver]) -> None:
    driver = drive(30, window=8.0)
    digest, data = listening(driver)
    driver.transfer.take(driver.frame(digest, 12, data), driver.now_s)
    driver.request()
    due_s = driver.transfer.next_timeout_s
    assert due_s == driver.now_s + LISTEN_S
    driver.now_s = due_s - 0.01
    assert driver.request() is None
    driver.now_s = due_s

    assert indices(driver.request()) == list(range(8))


def test_spoilt_chunks_of_a_stream_are_gaps(drive: Callable[..., Driver]) -> None:
    driver = drive(20)
    digest, data = listening(driver)
    for index in range(20):
        frame = driver.frame(digest, index, data)
        spoilt = Frame(digest, index, memoryview(bytes(len(frame.data)))) if index == 3 else frame
        driver.transfer.take(spoilt, driver.now_s)

    assert indices(driver.request()) == [3]


def test_a_lost_connection_ends_the_listening(drive: Callable[..., Driver]) -> None:
    driver = drive(30, window=8.0)
    listening(driver)
    driver.transfer.forget_requests()

    assert indices(driver.request()) == list(range(8))


def test_who_joins_late_fetches_the_beginning_by_itself(drive: Callable[..., Driver]) -> None:
    driver = drive(20, window=8.0)
    digest, data = listening(driver)
    for index in range(10, 20):
        driver.transfer.take(driver.frame(digest, index, data), driver.now_s)

    assert set(indices(driver.request())) <= set(range(10))
