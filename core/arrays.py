"""Array files: ``.npy`` mapped into memory, ``.npz`` members streamed. Nothing is unpickled; sizes are bounded before they are read.

Headers are matched here and not evaluated as numpy does, whose parser repairs what Python 2 wrote, warns, and raises whatever its
tokenizer raises.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import Rejected

MAX_MEMBERS = 256
MAX_HEADER_BYTES = 16 * 1024
MAX_ARRAY_BYTES = 64 << 30
MAX_SAMPLE_BYTES = 256 << 20
MAX_AXES = 16
_SKIP_BYTES = 1 << 20
_MAGIC = b"\x93NUMPY"
_NUMBER = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_ITEM = re.compile(
    r"""\s*(['"])(?:descr\1\s*:\s*(['"])(?P<descr>[^'"]{0,40})\2|fortran_order\1\s*:\s*(?P<fortran_order>True|False)"""
    r"""|shape\1\s*:\s*\((?P<shape>[0-9,\s]*)\))\s*(?:,\s*|(?=\}))"""
)
_BROKEN = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError,
    RuntimeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

Array = npt.NDArray[Any]
Read = Callable[[int, int], Array]


class ArrayFile(Protocol):
    """An array on disk whose first axis counts the samples."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def reader(self) -> AbstractContextManager[Read]:
        """``read(start, stop)`` gives rows as a new array, cheapest in ascending order. Readers are independent of each other.

        Raises:
            Rejected: ``dataset-unreadable``, from `read` too.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    offset: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Mapped:
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @contextmanager
    def reader(self) -> Iterator[Read]:
        yield lambda start, stop: np.array(self.array[start:stop], order="C")


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an ``.npz``: decompressed forwards; reading backwards starts it again."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        cursor = _Cursor(self)
        try:
            yield cursor.read
        finally:
            cursor.close()


class _Cursor:
    """A position in a decompressed member."""

    def __init__(self, member: _Member) -> None:
        self._member = member
        self._row_bytes = math.prod(member.shape[1:]) * member.dtype.itemsize
        self._archive: zipfile.ZipFile | None = None
        self._stream: IO[bytes] | None = None
        self._row = 0

    def read(self, start: int, stop: int) -> Array:
        member = self._member
        try:
            if self._stream is None or self._row > start:
                self._stream = self._rewind()
            _skip(self._stream, (start - self._row) * self._row_bytes)
            data = _read_exactly(self._stream, (stop - start) * self._row_bytes)
        except _BROKEN as error:
            raise _unreadable(member.path, error) from error
        self._row = stop
        return np.frombuffer(data, member.dtype).reshape(stop - start, *member.shape[1:])

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._archive is not None:
            self._archive.close()
        self._archive, self._stream = None, None

    def _rewind(self) -> IO[bytes]:
        self.close()
        self._archive = zipfile.ZipFile(self._member.path)
        stream = self._archive.open(self._member.name)
        _read_header(stream)
        self._row = 0
        return stream


def open_npy(path: Path) -> ArrayFile:
    """Map a ``.npy`` file.

    Raises:
        Rejected: ``dataset-unreadable``.
    """
    try:
        with path.open("rb") as file:
            header = _read_header(file)
        if header.offset + header.size_bytes > path.stat().st_size:
            raise ValueError("it ends early")
        if header.size_bytes == 0:
            return _Mapped(np.empty(header.shape, header.dtype))
        return _Mapped(np.memmap(path, header.dtype, "r", header.offset, header.shape, "F" if header.is_fortran else "C"))
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def open_npz(path: Path) -> dict[str, ArrayFile]:
    """The arrays of an ``.npz`` by name; only headers are read.

    Raises:
        Rejected: ``dataset-unreadable``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if len(members) > MAX_MEMBERS:
                raise ValueError(f"it has {len(members)} members, above {MAX_MEMBERS}")
            return {info.filename.removesuffix(".npy"): _member(path, archive, info) for info in members}
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError(f"{info.filename} is neither stored nor deflated")
    with archive.open(info) as stream:
        header = _read_header(stream)
    if header.offset + header.size_bytes > info.file_size:
        raise ValueError(f"{info.filename} ends early")
    if header.is_fortran and len(header.shape) > 1:
        raise ValueError(f"{info.filename} is in Fortran order, which cannot be streamed; save it with numpy.ascontiguousarray")
    return _Member(path, info.filename, header.shape, header.dtype)


def _read_header(stream: IO[bytes]) -> _Header:
    """The header as NEP 1 describes it, versions 1.0 and 2.0 (3.0 differs only in field names, which numbers do not have)."""
    preamble = _read_exactly(stream, len(_MAGIC) + 2)
    version = preamble[len(_MAGIC)]
    if not preamble.startswith(_MAGIC) or version not in {1, 2, 3}:
        raise ValueError("it is not in numpy's format")
    width = 2 if version == 1 else 4
    size_bytes = int.from_bytes(_read_exactly(stream, width), "little")
    if size_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {size_bytes} bytes, above {MAX_HEADER_BYTES}")
    fields = _fields(_read_exactly(stream, size_bytes).decode("latin-1").strip())
    dtype, shape = fields["descr"], _shape(fields["shape"])
    if not _NUMBER.fullmatch(dtype):
        raise ValueError(f"it holds {dtype!r}, not numbers")
    header = _Header(shape, np.dtype(dtype), fields["fortran_order"] == "True", len(preamble) + width + size_bytes)
    _check_bounds(header)
    return header


def _fields(text: str) -> dict[str, str]:
    """``{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }``: these three keys in any order, without evaluating anything."""
    fields: dict[str, str] = {}
    position = 1
    while match := _ITEM.match(text, position):
        fields |= {key: value for key, value in match.groupdict().items() if value is not None}
        position = match.end()
    if not text.startswith("{") or text[position:].strip() != "}" or len(fields) != 3:
        raise ValueError("its header does not describe an array of numbers")
    return fields


def _shape(text: str) -> tuple[int, ...]:
    axes = [axis.strip() for axis in text.split(",")]
    if len(axes) > 1 and not axes[-1]:
        axes.pop()
    elif len(axes) == 1 and axes[0]:
        raise ValueError("its header has no proper shape")
    shape = tuple(int(axis) for axis in axes if axis or len(axes) > 1)
    if len(shape) > MAX_AXES:
        raise ValueError(f"it has {len(shape)} axes, above {MAX_AXES}")
    return shape


def _check_bounds(header: _Header) -> None:
    if not header.shape:
        raise ValueError("it holds one number, without an axis that counts samples")
    # A zero elsewhere must not hide an axis that no address space holds.
    largest = math.prod(max(1, axis) for axis in header.shape)
    if largest * header.dtype.itemsize > MAX_ARRAY_BYTES or largest // max(1, header.shape[0]) * header.dtype.itemsize > MAX_SAMPLE_BYTES:
        raise ValueError(f"an array of shape {header.shape} is too large")


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            raise EOFError("it ends early")
        data += more
    return data


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        count -= len(_read_exactly(stream, min(count, _SKIP_BYTES)))


def _unreadable(path: Path, error: BaseException) -> Rejected:
    words = str(error) or type(error).__name__
    return Rejected("dataset-unreadable", f"{path.name} cannot be read as arrays: {words}", "Write it again with numpy.savez or numpy.save")
