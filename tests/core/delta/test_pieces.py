"""Cuts follow the content: the same bytes are cut the same, wherever they lie."""

from __future__ import annotations

import hashlib
import random

import pytest
from edgewright.core.delta.pieces import MAX_BYTES, MIN_BYTES, cut, key_of

DATA = random.Random(3).randbytes(3 << 20)


def test_pieces_follow_one_another_within_their_bounds() -> None:
    pieces = list(cut(memoryview(DATA)))

    assert [start for start, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
    assert pieces[-1][1] == len(DATA)
    assert all(MIN_BYTES <= end - start <= MAX_BYTES for start, end in pieces[:-1])
    assert 6 * 1024 < len(DATA) / len(pieces) < 14 * 1024


def test_the_cuts_are_part_of_the_wire() -> None:
    """Both ends cut by themselves: another table or another mask would find nothing."""
    starts = b"".join(start.to_bytes(4, "big") for start, _ in cut(memoryview(DATA)))

    assert hashlib.sha256(starts).hexdigest() == "a1984abb344da386ccd127b18af8d1e5d9d3314e0c0863bc6bbba3564720670d"


def test_a_hash_by_hand_agrees() -> None:
    """The gear hash of a window, written as its definition."""
    gear = [int.from_bytes(hashlib.sha256(bytes([value])).digest()[:4], "little") for value in range(256)]
    ends = [end for start, end in cut(memoryview(DATA[:200_000])) if MIN_BYTES <= end - start < MAX_BYTES][:-1]
    assert len(ends) > 10
    for end in ends:
        window = DATA[end - 32 : end]
        value = sum(gear[byte] << (31 - index) for index, byte in enumerate(window)) & 0xFFFFFFFF

        assert value >> 19 == 0


@pytest.mark.parametrize("shift", [1, 4097])
def test_what_is_moved_is_cut_the_same(shift: int) -> None:
    there = {key_of(memoryview(DATA)[start:end]) for start, end in cut(memoryview(DATA))}
    moved = memoryview(bytes(range(256)) * 20)[:shift].tobytes() + DATA
    here = [key_of(memoryview(moved)[start:end]) for start, end in cut(memoryview(moved))]

    assert sum(key in there for key in here) >= len(here) - 3


@pytest.mark.parametrize("size", [0, 1, MIN_BYTES, MAX_BYTES, MAX_BYTES + 1, 10 * MAX_BYTES])
def test_zeros_are_cut_at_the_longest(size: int) -> None:
    pieces = list(cut(memoryview(bytes(size))))

    assert [end - start for start, end in pieces] == [MAX_BYTES] * (size // MAX_BYTES) + ([size % MAX_BYTES] if size % MAX_BYTES else [])
