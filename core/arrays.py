"""Array files: ``.npy`` mapped into memory, ``.npz`` members streamed. Nothing is unpickled; sizes are bounded before they are read."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import Rejected

MAX_MEMBERS = 256
MAX_HEADER_BYTES = 16 * 1024
MAX_ARRAY_BYTES = 64 << 30
MAX_SAMPLE_BYTES = 1 << 30

Array = npt.NDArray[Any]


class ArrayFile(Protocol):
    """An array on disk; `read` gives rows of its first axis."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def read(self, start: int, stop: int) -> Array: ...


@dataclass(frozen=True, slots=True)
class _Mapped:
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def read(self, start: int, stop: int) -> Array:
        return np.array(self.array[start:stop])


@dataclass(slots=True)
class _Member:
    """A member of an ``.npz``: decompressed forwards; reading backwards starts it again."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stream: IO[bytes] | None = field(default=None, repr=False)
    _row: int = 0

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Array:
        try:
            if self._stream is None or self._row > start:
                self._open()
            assert self._stream is not None
            _skip(self._stream, (start - self._row) * self.row_bytes)
            wanted = (stop - start) * self.row_bytes
            data = _read_exactly(self._stream, wanted)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise _unreadable(self.path, error) from error
        self._row = stop
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])

    def _open(self) -> None:
        if self._stream is not None:
            self._stream.close()
        stream = zipfile.ZipFile(self.path).open(self.name)
        _read_header(stream)
        self._stream, self._row = stream, 0


def open_npy(path: Path) -> ArrayFile:
    """Map a ``.npy`` file.

    Raises:
        Rejected: ``dataset-unreadable``.
    """
    try:
        with path.open("rb") as file:
            shape, dtype, is_fortran = _read_header(file)
            offset = file.tell()
        _check_bounds(path, shape, dtype)
        if math.prod(shape) == 0:
            return _Mapped(np.empty(shape, dtype))
        if offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError("the file is truncated")
        order: Any = "F" if is_fortran else "C"
        return _Mapped(np.memmap(path, dtype, "r", offset, shape, order))
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise _unreadable(path, error) from error


def open_npz(path: Path) -> dict[str, ArrayFile]:
    """The arrays of an ``.npz`` by name; only headers are read.

    Raises:
        Rejected: ``dataset-unreadable``.
    """
    arrays: dict[str, ArrayFile] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise ValueError(f"it has {len(members)} members")
            for info in members:
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as stream:
                    shape, dtype, is_fortran = _read_header(stream)
                _check_bounds(path, shape, dtype)
                if is_fortran and len(shape) > 1:
                    raise ValueError(f"{info.filename} is in Fortran order, which cannot be streamed: save it with np.ascontiguousarray")
                arrays[info.filename.removesuffix(".npy")] = _Member(path, info.filename, shape, dtype)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    return arrays


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(stream)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"npy version {version}")
    width = 2 if version == (1, 0) else 4
    length = _read_exactly(stream, width)
    size_bytes = int.from_bytes(length, "little")
    if size_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {size_bytes} bytes")
    header = io.BytesIO(length + _read_exactly(stream, size_bytes))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(header, max_header_size=MAX_HEADER_BYTES)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}, which is not a number")
    return shape, dtype, is_fortran


def _check_bounds(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    total = math.prod(shape) * dtype.itemsize
    sample = math.prod(shape[1:]) * dtype.itemsize
    if not shape or any(axis < 0 for axis in shape) or total > MAX_ARRAY_BYTES or sample > MAX_SAMPLE_BYTES:
        raise ValueError(f"an array of shape {shape} in {path.name} is out of bounds")


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            raise EOFError("the data ends early")
        data += more
    return data


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        count -= len(_read_exactly(stream, min(count, 1 << 20)))


def _unreadable(path: Path, error: BaseException) -> Rejected:
    return Rejected("dataset-unreadable", f"{path.name} cannot be read as arrays: {error}", "Write it again with numpy.savez or numpy.save")
