"""One tensor's bytes to fewer bytes and back, exactly. Pure.

Of the ways that fit a tensor the smallest is taken:
- ``shared``: a table of the distinct values (in float16 where that is exact) and one index per element, coded by Huffman and finite state
  entropy (zstandard); for weights that share values, and for integers;
- ``sparse``: where most elements are one value, the gaps between the others, and their values; each entropy coded;
- ``half``: float32 that float16 has exactly, as float16;
- ``planes``: the bytes of elements sorted by significance, compressed;
- ``plain``: the bytes as they are, compressed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Way = Literal["shared", "sparse", "half", "planes", "plain"]
MAX_VALUES = 65536
LEVEL, _FAST_LEVEL = 19, 3
_NOISY_BYTES = 256 << 10
_SAMPLE = 8192
_LONG_GAP = 255
Array = npt.NDArray[Any]
Count = Annotated[int, msgspec.Meta(ge=0)]
# NumPy reads a whole language into the name of a type.
NumberType = Annotated[str, msgspec.Meta(pattern=r"^[<|][fiu][1248]$")]


class Coded(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor as stored. `dtype` is NumPy's name, `table` the values of a shared one, `parts` the compressed streams."""

    dtype: NumberType
    size: Count
    way: Way
    table: bytes
    parts: tuple[bytes, ...]


def code(value: Array) -> Coded:
    """The smallest coding of the elements of `value`, in order."""
    flat = np.ascontiguousarray(value).reshape(-1)
    bits = flat.view(f"u{flat.dtype.itemsize}")
    # Significands are noise to a compressor: where there are many, more effort finds nothing.
    level = LEVEL if flat.nbytes < _NOISY_BYTES else _FAST_LEVEL
    tried = []
    if flat.size > 16:
        if _may_share(bits):
            table, index = np.unique(bits, return_inverse=True)
            if len(table) <= min(MAX_VALUES, flat.size // 2 + 1):
                tried.append(_shared(flat, table, index))
                tried += _sparse(flat, table, index)
        if flat.dtype == np.float32 and _is_half(flat):
            tried.append(Coded(flat.dtype.str, flat.size, "half", b"", (pack(_planes(flat.astype("<f2")), level),)))
        if flat.dtype.itemsize > 1:
            tried.append(Coded(flat.dtype.str, flat.size, "planes", b"", (pack(_planes(flat), level),)))
    if not tried or flat.nbytes < _NOISY_BYTES:
        tried.append(Coded(flat.dtype.str, flat.size, "plain", b"", (pack(flat.tobytes(), level),)))
    return min(tried, key=_stored_bytes)


def decode(coded: Coded) -> Array:
    """The elements, exactly as they were.

    Raises:
        ValueError: the streams do not make what was promised.
    """
    dtype = np.dtype(coded.dtype)
    if coded.way in {"shared", "sparse"}:
        index = _indices(coded)
        table = _table(coded, dtype)
        if index.size and int(index.max()) >= len(table):
            raise ValueError("an index lies outside its table")
        return table[index]
    data = unpack(coded.parts[0], coded.size * (2 if coded.way == "half" else dtype.itemsize))
    if coded.way == "plain":
        return np.frombuffer(data, dtype)
    if coded.way == "half":
        return _from_planes(data, np.dtype("<f2")).astype(dtype)
    return _from_planes(data, dtype)


def _may_share(bits: Array) -> bool:
    """Whether a sample of the elements repeats itself enough to look at all of them."""
    sample = bits[:: max(1, len(bits) // _SAMPLE)]
    return len(np.unique(sample)) <= 0.75 * len(sample) or len(bits) < _SAMPLE


def _shared(flat: Array, table: Array, index: Array) -> Coded:
    wide = index.astype(np.uint8 if len(table) <= 256 else "<u2")
    return Coded(flat.dtype.str, flat.size, "shared", _written(flat.dtype, table), (pack(_planes(wide)),))


def _sparse(flat: Array, table: Array, index: Array) -> list[Coded]:
    """Gaps in bytes; a gap of 255 continues in the next byte without a value."""
    counts = np.bincount(index, minlength=len(table))
    common = int(counts.argmax())
    if counts[common] < 0.6 * flat.size or len(table) > 256:
        return []
    positions = np.flatnonzero(index != common)
    gaps = np.diff(positions, prepend=-1) - 1
    longs = gaps // _LONG_GAP
    stream = np.full(int(longs.sum()) + len(gaps), _LONG_GAP, np.uint8)
    stream[np.cumsum(longs + 1) - 1] = gaps % _LONG_GAP
    values = index[positions].astype(np.uint8)
    parts = (pack(stream.tobytes()), pack(values.tobytes()), np.array([common, stream.size, positions.size], "<u4").tobytes())
    return [Coded(flat.dtype.str, flat.size, "sparse", _written(flat.dtype, table), parts)]


def _indices(coded: Coded) -> Array:
    width = np.dtype(np.uint8) if _table_length(coded) <= 256 else np.dtype("<u2")
    if coded.way == "shared":
        return _from_planes(unpack(coded.parts[0], coded.size * width.itemsize), width)
    common, long, count = np.frombuffer(coded.parts[2], "<u4").tolist()
    if long > 2 * coded.size + 256 or count > coded.size:
        raise ValueError("a sparse stream is longer than its tensor")
    stream = np.frombuffer(unpack(coded.parts[0], long), np.uint8)
    values = np.frombuffer(unpack(coded.parts[1], count), np.uint8)
    ends = stream != _LONG_GAP
    positions = (np.cumsum(stream.astype(np.int64))[ends] + np.arange(int(ends.sum()))).astype(np.int64)
    if len(positions) != count or (count and int(positions[-1]) >= coded.size):
        raise ValueError("a sparse stream does not fit its tensor")
    index = np.full(coded.size, common, np.uint8)
    index[positions] = values
    return index


# --- tables -----------------------------------------------------------------------------------------------------------------------------


def _written(dtype: np.dtype[Any], table: Array) -> bytes:
    values = table.view(dtype)
    if dtype == np.float32 and _is_half(values):
        return b"h" + values.astype("<f2").tobytes()
    return b"f" + values.tobytes()


def _table(coded: Coded, dtype: np.dtype[Any]) -> Array:
    kind, body = coded.table[:1], coded.table[1:]
    return np.frombuffer(body, "<f2").astype(dtype) if kind == b"h" else np.frombuffer(body, dtype)


def _table_length(coded: Coded) -> int:
    width = 2 if coded.table[:1] == b"h" else np.dtype(coded.dtype).itemsize
    return (len(coded.table) - 1) // width


def _is_half(values: Array) -> bool:
    """Whether float16 has every value exactly, the sign of zero included; NaN never counts."""
    with np.errstate(over="ignore"):
        there = values.astype(np.float16).astype(values.dtype)
    return bool(np.array_equal(there.view(f"u{values.dtype.itemsize}"), values.view(f"u{values.dtype.itemsize}")))


# --- streams ----------------------------------------------------------------------------------------------------------------------------


def _planes(flat: Array) -> bytes:
    """All first bytes, then all second ones, and so on."""
    return np.ascontiguousarray(flat.view(np.uint8).reshape(flat.size, -1).T).tobytes()


def _from_planes(data: bytes, dtype: np.dtype[Any]) -> Array:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def pack(data: bytes, level: int = LEVEL) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=False).compress(data)


def unpack(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises:
        ValueError: the stream is damaged, or makes more or less.
    """
    import zstandard

    try:
        # A frame that names its size has so much memory taken for it, whatever the limit is.
        if zstandard.frame_content_size(data) not in {-1, size}:
            raise ValueError(f"a stream promises another size than {size}")
        made = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(size, 1))
    except zstandard.ZstdError as error:
        raise ValueError(f"a stream is damaged: {error}") from error
    if len(made) != size:
        raise ValueError(f"a stream makes {len(made)} bytes instead of {size}")
    return made


def _stored_bytes(coded: Coded) -> int:
    return len(coded.table) + sum(len(part) for part in coded.parts)
