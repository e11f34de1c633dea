"""The delta: a file said in terms of another one. What comes out is only believed after it was held against its full digest, by whoever asked.

A delta is MessagePack behind a magic number: the target's size, and parts that follow one another:
- `Copy`: bytes of the base;
- `Words`: floats, as the difference of their bit patterns from the base's (small for a fine-tune), or as they are; byte planes, compressed by zstd;
- `Data`: bytes, compressed by zstd.

Rules: every size is bounded before anything is allocated; the base and the target are memory-mapped, and never whole in memory twice.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from ..artifact import MAX_FILE_BYTES
from ..errors import Rejected
from .pieces import cut, key_of
from .tensors import Weights, find_weights

MAGIC = b"EWD\x01"
LEVEL = 3
MAX_PARTS = 1 << 20
MAX_STRETCH = 64 * 1024
_BLOCK_BYTES = 4 << 20
_WIDTHS = (2, 4, 8)
Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_BYTES)]


class Copy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=0):
    start: Offset
    size: Offset


class Words(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """`start` is the base's; None = the numbers themselves are in the planes."""

    start: Offset | None
    size: Offset
    width: int
    planes: bytes


class Data(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    size: Offset
    packed: bytes


Part = Copy | Words | Data


class Delta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`base_size` and `size` are the files' lengths."""

    base_size: Offset
    size: Offset
    parts: Annotated[list[Part], msgspec.Meta(max_length=MAX_PARTS)]


def encode_delta(base: Path, target: Path) -> bytes:
    """`target` in terms of `base`."""
    with mapped(base) as old, mapped(target) as new:
        parts = list(_parts(old, new))
        return MAGIC + msgspec.msgpack.encode(Delta(len(old), len(new), parts))


def _parts(old: memoryview, new: memoryview) -> Iterator[Part]:
    known = {key_of(old[start:end]): start for start, end in cut(old)}
    pending: Copy | None = None
    begin = 0
    for span in _spans(old, new, known):
        start, size = span.start, span.size
        if begin < start[0]:
            if pending is not None:
                yield pending
                pending = None
            yield from _unknown(old, new, begin, start[0])
        if pending is not None and pending.start + pending.size == start[1]:
            pending = Copy(pending.start, pending.size + size)
        else:
            if pending is not None:
                yield pending
            pending = Copy(start[1], size)
        begin = start[0] + size
    if pending is not None:
        yield pending
    if begin < len(new):
        yield from _unknown(old, new, begin, len(new))


class _Span(msgspec.Struct, frozen=True):
    """Equal bytes: `start` in the target and in the base."""

    start: tuple[int, int]
    size: int


def _spans(old: memoryview, new: memoryview, known: dict[bytes, int]) -> Iterator[_Span]:
    """Pieces of the target that the base has, lengthened to where the two really differ."""
    done = 0
    for start, end in cut(new):
        if end <= done:
            continue
        there = known.get(key_of(new[start:end]))
        if there is None or old[there : there + end - start] != new[start:end]:
            continue
        first, other = max(start, done), there + max(start, done) - start
        back = _equal_before(old, new, other, first, done)
        size = end - first + _equal_after(old, new, there + end - start, end)
        yield _Span((first - back, other - back), size + back)
        done = first + size


def _equal_before(old: memoryview, new: memoryview, here: int, there: int, limit: int) -> int:
    count = min(here, there - limit, MAX_STRETCH)
    if count <= 0:
        return 0
    differ = np.nonzero(np.frombuffer(old[here - count : here], np.uint8) != np.frombuffer(new[there - count : there], np.uint8))[0]
    return count if differ.size == 0 else count - 1 - int(differ[-1])


def _equal_after(old: memoryview, new: memoryview, here: int, there: int) -> int:
    count = min(len(old) - here, len(new) - there, MAX_STRETCH)
    if count <= 0:
        return 0
    differ = np.nonzero(np.frombuffer(old[here : here + count], np.uint8) != np.frombuffer(new[there : there + count], np.uint8))[0]
    return count if differ.size == 0 else int(differ[0])


def _unknown(old: memoryview, new: memoryview, start: int, end: int) -> Iterator[Part]:
    """What the base does not have: weights by their planes, the rest packed."""
    before = {weights.name: weights for weights in find_weights(old)}
    for weights in find_weights(new):
        first, last = max(start, weights.start), min(end, weights.end)
        first += -(first - weights.start) % weights.width
        last -= (last - weights.start) % weights.width
        if last - first < weights.width:
            continue
        if start < first:
            yield _data(new[start:first])
        yield from _words(old, new, weights, before.get(weights.name), (first, last))
        start = last
    if start < end:
        yield _data(new[start:end])


def _words(old: memoryview, new: memoryview, weights: Weights, other: Weights | None, span: tuple[int, int]) -> Iterator[Words]:
    for first in range(span[0], span[1], _BLOCK_BYTES):
        values = new[first : min(span[1], first + _BLOCK_BYTES)]
        best = Words(None, len(values), weights.width, _planes(_numbers(values, weights.width)))
        if other is not None and other.width == weights.width and other.end - other.start == weights.end - weights.start:
            start = other.start + first - weights.start
            difference = _numbers(values, weights.width) - _numbers(old[start : start + len(values)], weights.width)
            fine = Words(start, len(values), weights.width, _planes(_zigzag(difference, weights.width)))
            best = min(best, fine, key=lambda words: len(words.planes))
        yield best


def _numbers(data: memoryview, width: int) -> Any:
    return np.frombuffer(data, f"<u{width}")


def _zigzag(difference: Any, width: int) -> Any:
    signed = difference.view(f"<i{width}")
    return ((signed << 1) ^ (signed >> (8 * width - 1))).view(f"<u{width}")


def _unzigzag(numbers: Any) -> Any:
    return (numbers >> numbers.dtype.type(1)) ^ (~(numbers & numbers.dtype.type(1)) + numbers.dtype.type(1))


def _planes(numbers: Any) -> bytes:
    import zstandard

    width = numbers.dtype.itemsize
    planes = numbers.view(np.uint8).reshape(-1, width).T
    packer = zstandard.ZstdCompressor(level=LEVEL)
    return msgspec.msgpack.encode([packer.compress(plane.tobytes()) for plane in planes])


def _data(data: memoryview) -> Data:
    import zstandard

    return Data(len(data), zstandard.ZstdCompressor(level=LEVEL).compress(data))


# --- and back ---


def decode_delta(data: bytes | memoryview) -> Delta:
    """The delta in `data`; its parts are not unpacked yet.

    Raises:
        Rejected: ``delta-malformed``.
    """
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise _malformed("it does not begin as one")
    try:
        delta = msgspec.msgpack.decode(memoryview(data)[len(MAGIC) :], type=Delta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if sum(part.size for part in delta.parts) != delta.size:
        raise _malformed("its parts do not make up its size")
    for part in delta.parts:
        start = None if isinstance(part, Data) else part.start
        if start is not None and start + part.size > delta.base_size:
            raise _malformed("a part lies behind the base's end")
        if isinstance(part, Words) and (part.width not in _WIDTHS or part.size % part.width or part.size > _BLOCK_BYTES):
            raise _malformed("words of an impossible size")
    return delta


def apply_delta(base: Path, data: bytes, target: Path, size_bytes: int) -> None:
    """Write the file of `size_bytes` that `data` says in terms of `base` into `target`, over what is there.

    Raises:
        Rejected: ``delta-malformed``; what was written by then is worth nothing.
    """
    delta = decode_delta(data)
    with mapped(base) as old, target.open("r+b" if target.exists() else "w+b") as file:
        if len(old) != delta.base_size or delta.size != size_bytes:
            raise _malformed("it is for other files")
        for part in delta.parts:
            file.write(_bytes_of(part, old))
        file.truncate()


def _bytes_of(part: Part, old: memoryview) -> bytes | memoryview:
    if isinstance(part, Copy):
        return old[part.start : part.start + part.size]
    if isinstance(part, Data):
        return _unpacked(part.packed, part.size)
    numbers = _merged(part)
    if part.start is None:
        return numbers.tobytes()  # type: ignore[no-any-return]
    base = _numbers(old[part.start : part.start + part.size], part.width)
    return (base + _unzigzag(numbers)).tobytes()  # type: ignore[no-any-return]


def _merged(part: Words) -> Any:
    try:
        planes = msgspec.msgpack.decode(part.planes, type=list[bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if len(planes) != part.width:
        raise _malformed("words without all of their planes")
    count = part.size // part.width
    columns = [np.frombuffer(_unpacked(plane, count), np.uint8) for plane in planes]
    return np.stack(columns, axis=1).reshape(-1).view(f"<u{part.width}")


def _unpacked(packed: bytes, size: int) -> bytes:
    import zstandard

    try:
        found = zstandard.frame_content_size(packed)
        if found != size:
            raise _malformed("packed bytes of another size")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size) if size else b""
    except zstandard.ZstdError as error:
        raise _malformed(str(error)) from error


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield view
            finally:
                view.release()


def _malformed(why: str) -> Rejected:
    return Rejected("delta-malformed", f"the delta cannot be used: {why}", "The whole file is fetched instead; check what made the delta")
