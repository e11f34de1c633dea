"""The device's blobs: whole ones by digest, partial ones with a bitmap of the chunks that are there.

``blobs/DIGEST`` is complete, verified and read-only. ``partial/DIGEST`` is written in place, ``partial/DIGEST.map`` has a bit per chunk, set after
the chunk's bytes. A bit is believed only after its chunk was hashed again: a power cut may keep the bit and lose the bytes. Without a map each chunk
is hashed: `rebuild` fills files by other ways.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ..core.artifact import Artifact, Blob, chunk_hashes
from ..core.digest import digest_of_file
from ..core.errors import Rejected, Unfit
from ..core.files import disk_errors, make_folder, move_durably, remove_leftovers
from ..core.wire.frames import CHUNK_BYTES, chunk_count, chunk_size_bytes

log = logging.getLogger(__name__)

MAP_SUFFIX = ".map"


class Store:
    """Owns ``blobs/`` and ``partial/`` of the state folder."""

    def __init__(self, state: Path) -> None:
        self._blobs = state / "blobs"
        self._partial = state / "partial"
        for folder in (self._blobs, self._partial):
            make_folder(folder)
            remove_leftovers(folder)

    def path(self, digest: str) -> Path:
        return self._blobs / digest

    def partial_path(self, digest: str) -> Path:
        """Where a blob is filled. What is there without a map is looked at chunk by chunk when it is opened."""
        return self._partial / digest

    def has_partial(self, blob: Blob) -> bool:
        return self.partial_path(blob.digest).exists()

    def files(self) -> Iterator[Path]:
        """Every blob, whole or partial."""
        yield from self._blobs.iterdir()
        yield from (path for path in self._partial.iterdir() if not path.name.endswith(MAP_SUFFIX))

    def has(self, blob: Blob) -> bool:
        path = self.path(blob.digest)
        return path.is_file() and path.stat().st_size == blob.size_bytes

    def open_partial(self, blob: Blob) -> PartialBlob:
        """A blob to be filled; what an earlier run has left is taken up again, after it was hashed: may run on another thread.

        Raises:
            Unfit: ``disk-full``, or ``blob-missing`` when its chunk list is not there.
        """
        hashes: tuple[bytes, ...] = (bytes.fromhex(blob.digest),)
        if blob.chunks is not None:
            try:
                hashes = chunk_hashes(self.path(blob.chunks.digest).read_bytes())
            except FileNotFoundError as error:
                raise _missing(f"the chunk list of {blob.digest[:12]}…") from error
        return PartialBlob(self._partial / blob.digest, self.path(blob.digest), blob, hashes)

    def keep_only(self, digests: Iterable[str]) -> int:
        """Delete everything else; returns the bytes that were freed. Files that are hard links elsewhere live on there."""
        wanted, freed = set(digests), 0
        for entry in list(os.scandir(self._blobs)):
            freed += _delete(entry) if entry.name not in wanted else 0
        for entry in list(os.scandir(self._partial)):
            digest = entry.name.removesuffix(MAP_SUFFIX)
            # A crash may leave the map of a blob that is complete.
            freed += _delete(entry) if digest not in wanted or self.path(digest).exists() else 0
        return freed

    def lay_out(self, artifact: Artifact, folder: Path, copies: Collection[str] = ()) -> None:
        """Make `folder` hold the artifact's files under their names: those in `copies` as files of their own, the others as hard links.

        Raises:
            Unfit: ``blob-missing`` when a blob has gone, ``disk-full``.
        """
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, blob in artifact.files.items():
                target = folder / name
                target.unlink(missing_ok=True)
                try:
                    if name in copies:
                        shutil.copyfile(self.path(blob.digest), target)
                    else:
                        target.hardlink_to(self.path(blob.digest))
                except FileNotFoundError as error:
                    raise _missing(f"the downloaded file {name}") from error


def _delete(entry: os.DirEntry[str]) -> int:
    """Delete a file; returns its bytes."""
    if not entry.is_file(follow_symlinks=False):
        return 0
    size_bytes = entry.stat(follow_symlinks=False).st_size
    Path(entry.path).unlink(missing_ok=True)
    return size_bytes


def _missing(what: str) -> Unfit:
    return Unfit("blob-missing", f"{what} has gone from this device", "Send the deployment again")


class PartialBlob:
    """One blob on its way. Chunks are verified before they are written. Has one owner at a time, who closes it."""

    def __init__(self, path: Path, target: Path, blob: Blob, hashes: tuple[bytes, ...]) -> None:
        self.blob = blob
        self._path = path
        self._map_path = path.with_name(path.name + MAP_SUFFIX)
        self._target = target
        self._hashes = hashes
        self.count = chunk_count(blob.size_bytes)
        self._have = bytearray(-(-self.count // 8))
        self.missing = self.count
        self._file = self._map = -1
        with disk_errors(path):
            try:
                is_unmarked = path.exists() and not self._map_path.exists()
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(path, flags, 0o600)
                self._map = os.open(self._map_path, flags, 0o600)
                self._take_up(is_unmarked=is_unmarked)
            except OSError:
                self.close()
                raise

    def _take_up(self, *, is_unmarked: bool) -> None:
        if os.fstat(self._file).st_size > self.blob.size_bytes:
            os.ftruncate(self._file, self.blob.size_bytes)
        marked = b"\xff" * len(self._have) if is_unmarked else os.pread(self._map, len(self._have), 0)
        for index in range(min(self.count, len(marked) * 8)):
            if marked[index // 8] >> index % 8 & 1:
                data = os.pread(self._file, chunk_size_bytes(self.blob.size_bytes, index), index * CHUNK_BYTES)
                if hashlib.sha256(data).digest() == self._hashes[index]:
                    self._have[index // 8] |= 1 << index % 8
                    self.missing -= 1
        # In place: a crash between two steps of this must not lose what is there.
        _write_all(self._map, memoryview(self._have), 0)
        os.ftruncate(self._map, len(self._have))

    def has(self, index: int) -> bool:
        return bool(self._have[index // 8] >> index % 8 & 1)

    def add(self, index: int, data: memoryview) -> bool:
        """Write one chunk; False when its bytes are not what the artifact's hash says.

        Raises:
            Unfit: ``disk-full``.
        """
        if len(data) != chunk_size_bytes(self.blob.size_bytes, index) or hashlib.sha256(data).digest() != self._hashes[index]:
            return False
        if self.has(index):
            return True
        with disk_errors(self._path):
            _write_all(self._file, data, index * CHUNK_BYTES)
            mark = self._have[index // 8] | 1 << index % 8
            os.pwrite(self._map, bytes((mark,)), index // 8)
        self._have[index // 8] = mark
        self.missing -= 1
        return True

    @property
    def have_bytes(self) -> int:
        last = self.count - 1
        short = CHUNK_BYTES - chunk_size_bytes(self.blob.size_bytes, last) if self.count and self.has(last) else 0
        return (self.count - self.missing) * CHUNK_BYTES - short

    def finish(self) -> None:
        """Bring a complete blob to disk under its digest, and close it. Reads it whole: may run on another thread.

        Raises:
            Rejected: ``digest-mismatch`` when the chunks are right and the whole is not: the artifact contradicts itself.
            Unfit: ``disk-full``.
        """
        try:
            with disk_errors(self._path):
                os.fsync(self._file)
                if digest_of_file(self._path) == self.blob.digest:
                    move_durably(self._path, self._target)
                    # Not before: what a crash leaves behind has to be opened for writing again.
                    self._target.chmod(0o400)
                    self._map_path.unlink(missing_ok=True)
                    return
        finally:
            self.close()
        self.discard()
        message = f"the blob {self.blob.digest[:12]}… does not have its digest although every chunk fits"
        raise Rejected("digest-mismatch", message, "Build the deployment again with edgewright fleet deploy")

    def discard(self) -> None:
        """Close and delete it: its bytes are worth nothing, or their space is needed. On a disk that deletes nothing they are garbage."""
        self.close()
        for path in (self._path, self._map_path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s could not be deleted: %s", path.name, error)

    def close(self) -> None:
        for descriptor in (self._file, self._map):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._map = -1


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
