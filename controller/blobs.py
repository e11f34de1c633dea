"""The controller's blobs: files named by their digest, added once, served in chunks."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from pathlib import Path

from ..core.artifact import Artifact, Blob, describe_bytes, describe_file
from ..core.digest import is_digest
from ..core.errors import Rejected
from ..core.files import disk_errors, move_durably, write_atomic
from ..core.wire.frames import CHUNK_BYTES

MAX_OPEN = 32


class BlobStore:
    """Adds and finds blobs. Safe for several processes: a blob appears whole, by one rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        return self._folder / digest

    def has(self, digest: str) -> bool:
        return is_digest(digest) and self.path(digest).is_file()

    def add_file(self, source: Path) -> Blob:
        """Copy `source` in; its chunk lists become blobs as well.

        Raises:
            Rejected: ``artifact-too-large``, ``file-unreadable``.
        """
        try:
            blob, lists = describe_file(source)
        except OSError as error:
            raise Rejected("file-unreadable", f"{source} cannot be read: {error.strerror}", "Give a readable file") from error
        if not self.has(blob.digest):
            temporary = self._folder / f".{blob.digest}.{os.getpid()}.tmp"
            with disk_errors(source):
                try:
                    shutil.copyfile(source, temporary)
                    with temporary.open("rb") as file:
                        os.fsync(file.fileno())
                    move_durably(temporary, self.path(blob.digest))
                finally:
                    temporary.unlink(missing_ok=True)
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


class BlobReader:
    """Reads chunks; keeps the files that were read last open. For one thread."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._open: OrderedDict[str, int] = OrderedDict()

    def chunk(self, digest: str, index: int) -> bytes | None:
        """Chunk `index`, empty behind the blob's end; None when there is no such blob."""
        descriptor = self._descriptor(digest)
        return None if descriptor is None else os.pread(descriptor, CHUNK_BYTES, index * CHUNK_BYTES)

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
