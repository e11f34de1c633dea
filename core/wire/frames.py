"""Chunk frames: the binary payload of the ``blob`` topics. Pure.

A frame is a 38-byte header and the chunk's bytes::

    offset  size  field
         0     1  version, 1
         1     1  kind: 0 = chunk, 1 = the sender does not have this blob, 2 = many want it: listen to its broadcast
         2    32  SHA-256 of the whole blob
        34     4  index of the chunk, big-endian
        38     …  the chunk

Every chunk but the last is exactly `CHUNK_BYTES` long: whole 4 KiB pages, so that chunks are written in place without read-modify-write,
and header and chunk together stay below the 120 KiB that every broker carries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import Rejected

CHUNK_BYTES = 29 * 4096
HEADER = struct.Struct(">BB32sI")
MAX_PAYLOAD_BYTES = 120 * 1024
VERSION = 1
KIND_CHUNK = 0
KIND_UNKNOWN_BLOB = 1
KIND_SHARED_BLOB = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One parsed frame; `data` is a view into the received payload, empty when the sender sends no chunk of it here."""

    digest: str
    index: int
    data: memoryview
    is_unknown: bool = False
    is_shared: bool = False


def encode_chunk(digest: str, index: int, data: bytes | memoryview) -> bytes:
    return HEADER.pack(VERSION, KIND_CHUNK, bytes.fromhex(digest), index) + data


def encode_unknown_blob(digest: str) -> bytes:
    """The sender's answer to a request for a blob that it does not have."""
    return HEADER.pack(VERSION, KIND_UNKNOWN_BLOB, bytes.fromhex(digest), 0)


def encode_shared_blob(digest: str) -> bytes:
    """The sender's answer to a request for a blob that it is about to broadcast, or does already."""
    return HEADER.pack(VERSION, KIND_SHARED_BLOB, bytes.fromhex(digest), 0)


def decode_frame(payload: bytes | memoryview) -> Frame:
    """Parse a frame; the chunk is not verified here, its receiver knows the hash to expect.

    Raises:
        Rejected: ``frame-malformed`` or ``frame-version``.
    """
    if not HEADER.size <= len(payload) <= MAX_PAYLOAD_BYTES:
        raise Rejected("frame-malformed", f"a chunk frame of {len(payload)} bytes", "Check what publishes on the blob topics")
    version, kind, digest, index = HEADER.unpack_from(payload)
    if version != VERSION:
        raise Rejected("frame-version", f"a chunk frame of version {version}", "Update the agent or the controller")
    data = memoryview(payload)[HEADER.size :]
    if kind not in {KIND_CHUNK, KIND_UNKNOWN_BLOB, KIND_SHARED_BLOB} or len(data) > CHUNK_BYTES:
        raise Rejected("frame-malformed", f"a chunk frame of kind {kind} with {len(data)} bytes", "Check what publishes on the blob topics")
    return Frame(digest.hex(), index, data, is_unknown=kind == KIND_UNKNOWN_BLOB, is_shared=kind == KIND_SHARED_BLOB)


def chunk_count(size_bytes: int) -> int:
    """How many chunks a blob of `size_bytes` has; an empty blob has none."""
    return -(-size_bytes // CHUNK_BYTES)


def chunk_size_bytes(size_bytes: int, index: int) -> int:
    """The length of chunk `index` of a blob of `size_bytes`."""
    return min(CHUNK_BYTES, size_bytes - index * CHUNK_BYTES)
