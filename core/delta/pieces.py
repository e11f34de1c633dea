"""Content-defined pieces: a file is cut where its content says so, so that what is moved or surrounded by something new is cut the same. Pure.

The cuts are those of a gear hash (Xia et al. 2016, FastCDC) of 32 bytes, computed for all positions at once by doubling (h₂ₖ[i] = hₖ[i] +
hₖ[i-k]·2ᵏ). Both ends must cut alike: the table is of SHA-256, and part of the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

MIN_BYTES, MAX_BYTES = 2 * 1024, 64 * 1024
_MASK = np.uint32(0x1FFF << 19)  # 13 of the highest bits, which depend on the whole window: 8 KiB on average
_SEGMENT_BYTES = 1 << 20
_WINDOW_BYTES = 32
KEY_BYTES = 16


@cache
def _gear() -> Any:
    digests = b"".join(hashlib.sha256(bytes([value])).digest()[:4] for value in range(256))
    return np.frombuffer(digests, "<u4").astype(np.uint32)


def _candidates(data: memoryview) -> Iterator[int]:
    """Every position behind a window that asks for a cut."""
    gear = _gear()
    for start in range(0, len(data), _SEGMENT_BYTES):
        first = max(0, start - _WINDOW_BYTES + 1)
        hashes = gear[np.frombuffer(data[first : start + _SEGMENT_BYTES], np.uint8)]
        step = 1
        while step < _WINDOW_BYTES:
            shifted = hashes[:-step] << np.uint32(step)
            hashes[step:] += shifted
            step *= 2
        hits = np.nonzero((hashes & _MASK) == 0)[0] + first + 1
        yield from hits[hits > start].tolist()


def cut(data: memoryview) -> Iterator[tuple[int, int]]:
    """The pieces of `data`, as start and end; of `MIN_BYTES` to `MAX_BYTES`, but for the last one."""
    start = 0
    for position in _candidates(data):
        while position - start > MAX_BYTES:
            yield start, start + MAX_BYTES
            start += MAX_BYTES
        if position - start >= MIN_BYTES:
            yield start, position
            start = position
    while start < len(data):
        end = min(len(data), start + MAX_BYTES)
        yield start, end
        start = end


def key_of(piece: memoryview) -> bytes:
    """What a piece is looked up by. Short: whatever is made of pieces is held against its full digest."""
    return hashlib.sha256(piece).digest()[:KEY_BYTES]
