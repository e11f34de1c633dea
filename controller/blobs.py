"""The controller's blobs: files named by their digest, added once, served in chunks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.artifact import Artifact, Blob, describe_bytes, describe_file
from ..core.digest import is_digest
from ..core.errors import Rejected
from ..core.files import disk_errors, move_durably, write_atomic
from ..core.wire.frames import CHUNK_BYTES, chunk_count

MAX_OPEN = 32
_SCRATCH = ".adding-"


class BlobStore:
    """Adds and finds blobs. Safe for several processes: a blob appears whole, by one rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        return self._folder / digest

    def has(self, digest: str) -> bool:
        return is_digest(digest) and self.path(digest).is_file()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the store's file system for what is being made, gone afterwards; also what killed processes left goes."""
        for left in self._folder.glob(f"{_SCRATCH}*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left, ignore_errors=True)
        with disk_errors(self._folder), tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=self._folder) as folder:
            yield Path(folder)

    def add_file(self, source: Path) -> Blob:
        """Copy `source` in; its chunk lists become blobs as well.

        Raises:
            Rejected: ``artifact-too-large``, ``file-unreadable``.
            Unfit: ``disk-full``, ``disk-read-only``.
        """
        blob, lists = _describe(source)
        if self.has(blob.digest):
            self._add_lists(lists)
            return blob
        with self.scratch() as folder:
            copy = folder / "copy"
            _copy(source, copy)
            return self.take_file(copy)  # described again: `source` may have changed since

    def take_file(self, made: Path) -> Blob:
        """Move a finished file of `scratch` in; raises as `add_file` does."""
        blob, lists = _describe(made)
        if not self.has(blob.digest):
            with made.open("rb") as file:
                os.fsync(file.fileno())
            move_durably(made, self.path(blob.digest))
        self._add_lists(lists)
        return blob

    def add_bytes(self, data: bytes) -> Blob:
        blob, lists = describe_bytes(data)
        self._add_lists((data, *lists))
        return blob

    def _add_lists(self, lists: tuple[bytes, ...]) -> None:
        for data in lists:
            blob, _ = describe_bytes(data)
            if not self.has(blob.digest):
                write_atomic(self.path(blob.digest), data)

    def add_files(self, files: dict[str, Path]) -> Artifact:
        return Artifact({name: self.add_file(path) for name, path in files.items()})


def _describe(path: Path) -> tuple[Blob, tuple[bytes, ...]]:
    try:
        return describe_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _copy(source: Path, target: Path) -> None:
    try:
        file = source.open("rb")
    except OSError as error:
        raise _unreadable(source, error) from error
    with file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)


def _unreadable(path: Path, error: OSError) -> Rejected:
    return Rejected("file-unreadable", f"{path} cannot be read: {error.strerror}", "Give a readable file")


class BlobReader:
    """Reads chunks; keeps the files that were read last open. For one thread."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._open: OrderedDict[str, int] = OrderedDict()

    def chunk(self, digest: str, index: int) -> bytes | None:
        """Chunk `index`, empty behind the blob's end; None when there is no such blob."""
        descriptor = self._descriptor(digest)
        return None if descriptor is None else os.pread(descriptor, CHUNK_BYTES, index * CHUNK_BYTES)

    def count(self, digest: str) -> int:
        """How many chunks the blob has; 0 when there is no such blob."""
        descriptor = self._descriptor(digest)
        return 0 if descriptor is None else chunk_count(os.fstat(descriptor).st_size)

    def _descriptor(self, digest: str) -> int | None:
        if digest in self._open:
            self._open.move_to_end(digest)
            return self._open[digest]
        if not is_digest(digest):
            return None
        try:
            descriptor = os.open(self._store.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        self._open[digest] = descriptor
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
