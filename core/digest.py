"""Content digests: SHA-256 in lower-case hex, which is also a blob's name in a store and in a topic."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIGEST_LENGTH = 64
_READ_BYTES = 1 << 20


def digest_of_bytes(data: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path) -> str:
    """Read the file in pieces of 1 MiB; memory does not grow with its size."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            sha.update(piece)
    return sha.hexdigest()


def is_digest(text: str) -> bool:
    return len(text) == DIGEST_LENGTH and all(c in "0123456789abcdef" for c in text)
