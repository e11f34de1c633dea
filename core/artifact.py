"""Artifacts: signed lists of files, each its own blob. Pure descriptions; stores hold the bytes.

A blob is named by its digest. One larger than a chunk names its *chunk list* too: the concatenated 32-byte SHA-256 of its chunks, which is
a blob itself. So every chunk is verified as it arrives, at any size, and the signed description stays a few hundred bytes: 4 GiB of model
have a list of 1.1 MiB, whose own list is ten hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .digest import digest_of_bytes, is_digest
from .errors import Rejected
from .wire.frames import CHUNK_BYTES, chunk_count

MAX_FILE_BYTES = 4 << 30
MAX_FILES = 64
HASH_BYTES = 32
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,127}")


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content by digest; `chunks` is its chunk list, None exactly when the blob fits one chunk."""

    digest: str
    size_bytes: int
    chunks: Blob | None = None


class Delta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file in terms of the blob `base` (see `delta.codec`); `blob` holds it."""

    base: str
    blob: Blob


class Shortcut(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shorter ways to one file: deltas from what a device may have, and the recipe of its pieces (see `delta.recipe`)."""

    recipe: Blob | None = None
    deltas: tuple[Delta, ...] = ()


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files by name. `kind` says what they are to the device: a model, a calibration or an evaluation set."""

    files: dict[str, Blob]

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.files.values())


def is_file_name(name: str) -> bool:
    """Whether a file of an artifact may have this name."""
    return _NAME.fullmatch(name) is not None


def check_artifact(artifact: Artifact) -> Artifact:
    """`artifact` itself when every name, size and digest is within bounds and every chunk list has the right length.

    Raises:
        Rejected: ``artifact-malformed``.
    """
    if not 0 < len(artifact.files) <= MAX_FILES:
        raise _malformed(f"an artifact of {len(artifact.files)} files")
    for name, blob in artifact.files.items():
        if not _NAME.fullmatch(name):
            raise _malformed(f"the file name {name!r}")
        _check_blob(name, blob)
    return artifact


def check_shortcuts(shortcuts: dict[str, Shortcut]) -> None:
    """Hold every name and size of shorter ways against the bounds.

    Raises:
        Rejected: ``artifact-malformed``.
    """
    if len(shortcuts) > MAX_FILES:
        raise _malformed(f"shorter ways to {len(shortcuts)} files")
    for digest, shortcut in shortcuts.items():
        if not is_digest(digest) or len(shortcut.deltas) > MAX_FILES:
            raise _malformed(f"the shorter ways to {digest[:64]!r}")
        if shortcut.recipe is not None:
            _check_blob("a recipe", shortcut.recipe)
        for delta in shortcut.deltas:
            if not is_digest(delta.base):
                raise _malformed(f"the base {delta.base[:64]!r}")
            _check_blob("a delta", delta.blob)


def _check_blob(name: str, blob: Blob) -> None:
    if not is_digest(blob.digest) or not 0 <= blob.size_bytes <= MAX_FILE_BYTES:
        raise _malformed(f"the digest or size of {name!r}")
    count = chunk_count(blob.size_bytes)
    if (blob.chunks is None) != (count <= 1):
        raise _malformed(f"the chunk list of {name!r}")
    if blob.chunks is not None:
        if blob.chunks.size_bytes != count * HASH_BYTES:
            raise _malformed(f"the chunk list of {name!r}")
        _check_blob(name, blob.chunks)


def _malformed(what: str) -> Rejected:
    return Rejected("artifact-malformed", f"{what} is not allowed", "Names are of [a-z0-9._-]; build artifacts with edgewright fleet deploy")


def chunk_hashes(chunk_list: bytes) -> tuple[bytes, ...]:
    """The hashes of a verified chunk list."""
    return tuple(chunk_list[i : i + HASH_BYTES] for i in range(0, len(chunk_list), HASH_BYTES))


def describe_file(path: Path) -> tuple[Blob, tuple[bytes, ...]]:
    """The blob of a file and the contents of its chunk lists (outermost first), which the sender must be able to serve as well."""
    import hashlib

    whole = hashlib.sha256()
    hashes = bytearray()
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            whole.update(chunk)
            hashes += hashlib.sha256(chunk).digest()
            size_bytes += len(chunk)
    if size_bytes > MAX_FILE_BYTES:
        raise Rejected("artifact-too-large", f"{path.name} has {size_bytes} bytes, above 4 GiB", "Split the model's external data")
    return _blob_with_lists(whole.hexdigest(), size_bytes, bytes(hashes))


def describe_bytes(data: bytes) -> tuple[Blob, tuple[bytes, ...]]:
    """As `describe_file`, of bytes in memory."""
    pieces = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
    hashes = b"".join(bytes.fromhex(digest_of_bytes(piece)) for piece in pieces)
    return _blob_with_lists(digest_of_bytes(data), len(data), hashes)


def _blob_with_lists(digest: str, size_bytes: int, hashes: bytes) -> tuple[Blob, tuple[bytes, ...]]:
    if size_bytes <= CHUNK_BYTES:
        return Blob(digest, size_bytes), ()
    inner, lists = describe_bytes(hashes)
    return Blob(digest, size_bytes, inner), (hashes, *lists)


def walk_blobs(artifact: Artifact) -> Iterator[Blob]:
    """Every blob that the artifact needs, chunk lists before what they list, each digest once."""
    seen: set[str] = set()
    for blob in artifact.files.values():
        chain = [blob]
        while chain[-1].chunks is not None:
            chain.append(chain[-1].chunks)
        for link in reversed(chain):
            if link.digest not in seen:
                seen.add(link.digest)
                yield link
