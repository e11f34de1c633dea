"""Holds the tensors that are alive during the walk, batch by batch: small ones in memory, large ones in temporary files.

What lies in a file is not resident, so that the walk's memory does not grow with the number of samples.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
IN_MEMORY_BYTES = 1 << 20


class _Shelf:
    """One tensor's batches, in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._batches: list[tuple[int, tuple[int, ...], np.dtype[Any]] | Array] = []

    def add(self, values: Array) -> None:
        if values.nbytes <= IN_MEMORY_BYTES // 4:
            self._batches.append(values.copy())
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)
        self._batches.append((self._file.seek(0, 2), values.shape, values.dtype))
        self._file.write(np.ascontiguousarray(values).data.cast("B"))

    def get(self, index: int) -> Array:
        entry = self._batches[index]
        if isinstance(entry, np.ndarray):
            return entry
        assert self._file is not None
        offset, shape, dtype = entry
        self._file.seek(offset)
        values = np.empty(shape, dtype)
        self._file.readinto(values.data.cast("B"))  # type: ignore[attr-defined] # a file opened as bytes has it
        return values

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Spool:
    """Tensors by name, each a sequence of batches. A context manager: leaving it removes the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shelves: dict[str, _Shelf] = {}

    def add(self, name: str, values: Array) -> None:
        self._shelves.setdefault(name, _Shelf(self._folder)).add(values)

    def get(self, name: str, index: int) -> Array:
        return self._shelves[name].get(index)

    def drop(self, name: str) -> None:
        shelf = self._shelves.pop(name, None)
        if shelf is not None:
            shelf.close()

    def __enter__(self) -> Spool:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name in list(self._shelves):
            self.drop(name)
