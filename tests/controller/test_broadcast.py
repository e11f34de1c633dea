from __future__ import annotations

from edgewright.controller.broadcast import AHEAD, GATHER_S, LEFT_BEHIND_S, MIN_CHUNKS, MIN_DEVICES, REMEMBERED, Broadcasts

DIGEST, COUNT = "d" * 64, 100
BOARDS = [f"board-{number}" for number in range(5)]


class Room:
    """Broadcasts, and the devices of the test; time passes only by `now_s`."""

    def __init__(self, wanting: int = 5) -> None:
        self.wanting = wanting
        self.now_s = 1000.0
        self.casts = Broadcasts(lambda _digest: self.wanting)

    def ask(self, device: str, count: int = COUNT) -> str:
        return self.casts.asked(device, DIGEST, count, self.now_s)

    def hear(self, device: str, count: int) -> None:
        self.casts.heard(device, DIGEST, count, self.now_s)

    def join(self, *devices: str) -> None:
        for device in devices:
            assert self.ask(device) == "listen"
            self.hear(device, 0)

    def sent(self) -> list[int]:
        """All that may go now."""
        found = []
        while (due := self.casts.next_chunk(self.now_s)) is not None:
            found.append(due[1])
        return found


def test_what_few_want_is_served_to_each() -> None:
    room = Room(wanting=MIN_DEVICES - 1)

    assert room.ask("board-0") == "serve"
    assert room.casts.is_idle


def test_a_small_blob_is_served_to_each() -> None:
    assert Room().ask("board-0", MIN_CHUNKS - 1) == "serve"


def test_the_stream_begins_when_all_who_want_it_listen() -> None:
    room = Room()
    room.join(*BOARDS[:4])
    assert room.sent() == []
    room.join(BOARDS[4])

    assert room.sent() == list(range(AHEAD))


def test_the_stream_does_not_wait_for_ever_for_who_does_not_come() -> None:
    room = Room()
    room.join("board-0")
    room.now_s += GATHER_S - 0.1
    room.hear("board-0", 0)
    assert room.sent() == []
    room.now_s += 0.2

    assert room.sent() == list(range(AHEAD))


def test_it_goes_at_the_pace_of_the_slowest_and_sends_every_chunk_once() -> None:
    room = Room()
    room.join(*BOARDS)
    sent = room.sent()
    for device in BOARDS[1:]:
        room.hear(device, 30)
    assert room.sent() == []
    room.hear(BOARDS[0], 8)
    assert room.sent() == list(range(AHEAD, AHEAD + 8))
    sent += range(AHEAD, AHEAD + 8)
    while len(sent) < COUNT:
        for device in BOARDS:
            room.hear(device, len(sent))
        sent += room.sent()

    assert sent == list(range(COUNT))
    assert room.casts.is_idle


def test_one_that_has_gone_silent_is_left_behind() -> None:
    room = Room()
    room.join(*BOARDS)
    room.sent()
    room.now_s += LEFT_BEHIND_S
    for device in BOARDS[1:]:
        room.hear(device, AHEAD)

    assert room.sent() == list(range(AHEAD, 2 * AHEAD))


def test_who_comes_late_hears_the_rest_and_does_not_hold_the_others_up() -> None:
    room = Room()
    room.join(*BOARDS)
    room.sent()
    room.join("late")
    for device in BOARDS:
        room.hear(device, 20)
    room.hear("late", 0)

    assert room.sent() == list(range(AHEAD, AHEAD + 20))


def test_gaps_are_served_to_those_who_listened_and_start_nothing_new() -> None:
    room = Room()
    room.join(*BOARDS)
    room.sent()
    assert room.ask("board-0") == "serve"  # it gave up while the stream runs
    heard = AHEAD
    while not room.casts.is_idle:
        for device in BOARDS[1:]:
            room.hear(device, heard)
        heard += len(room.sent())

    assert [room.ask(device) for device in BOARDS] == ["serve"] * 5
    assert room.casts.is_idle


def test_others_who_want_it_afterwards_get_a_stream_of_their_own() -> None:
    room = Room()
    room.join(*BOARDS)
    room.sent()
    room.now_s += GATHER_S + LEFT_BEHIND_S
    assert room.sent() == []  # all of them are gone
    room.wanting = 5 + MIN_DEVICES

    assert room.ask("new") == "listen"


def test_a_stream_that_nobody_listens_to_ends() -> None:
    room = Room()
    assert room.ask("board-0") == "listen"
    room.now_s += GATHER_S + LEFT_BEHIND_S

    assert room.sent() == []
    assert room.casts.is_idle


def test_what_is_remembered_is_bounded() -> None:
    room = Room()
    for number in range(2 * REMEMBERED):
        room.casts.asked("board-0", f"{number:064x}", COUNT, room.now_s)
        room.now_s += GATHER_S + LEFT_BEHIND_S
        room.sent()

    assert len(room.casts._past) == REMEMBERED
