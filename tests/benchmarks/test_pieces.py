import json

import pytest


@pytest.fixture
def pieces_of(benchmark):
    return benchmark("pieces").Pieces


def test_pieces_that_are_done_are_not_done_again(pieces_of, tmp_path):
    path = tmp_path / "state.json"
    pieces_of([path], None).do("one", lambda: {"top1": 0.5})
    again = pieces_of([path], None)
    again.do("one", lambda: pytest.fail("it was done again"))

    assert again.known == {"one": {"top1": 0.5}} == json.loads(path.read_text())


def test_of_several_states_all_are_read_and_the_first_is_written(pieces_of, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    second.write_text('{"old": {"top1": 0.1}}')
    pieces_of([first, second], None).do("new", lambda: {"top1": 0.2})

    assert set(json.loads(first.read_text())) == {"old", "new"}
    assert set(json.loads(second.read_text())) == {"old"}


def test_when_the_time_is_over_no_piece_begins(pieces_of):
    pieces = pieces_of([], 0)
    pieces.do("one", lambda: pytest.fail("it began"))

    assert pieces.left == 1
