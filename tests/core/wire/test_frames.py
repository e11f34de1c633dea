from __future__ import annotations

import hashlib
import struct

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.wire.frames import (
    CHUNK_BYTES,
    HEADER,
    MAX_PAYLOAD_BYTES,
    chunk_count,
    chunk_size_bytes,
    decode_frame,
    encode_chunk,
    encode_shared_blob,
    encode_unknown_blob,
)
from hypothesis import example, given
from hypothesis import strategies as st

DIGEST = hashlib.sha256(b"blob").hexdigest()


def test_a_frame_has_the_documented_layout() -> None:
    frame = encode_chunk(DIGEST, 258, b"chunk")

    assert frame == b"\x01\x00" + hashlib.sha256(b"blob").digest() + b"\x00\x00\x01\x02" + b"chunk"


def test_a_whole_chunk_with_its_header_fits_every_broker_and_is_whole_pages() -> None:
    assert len(encode_chunk(DIGEST, 0, bytes(CHUNK_BYTES))) <= 120 * 1024 < 128 * 1024
    assert CHUNK_BYTES % 4096 == 0


@given(digest=st.binary(min_size=32, max_size=32), index=st.integers(0, 2**32 - 1), data=st.binary(max_size=300))
def test_a_chunk_comes_back_as_it_was(digest: bytes, index: int, data: bytes) -> None:
    frame = decode_frame(encode_chunk(digest.hex(), index, data))

    assert (frame.digest, frame.index, bytes(frame.data), frame.is_unknown) == (digest.hex(), index, data, False)


def test_the_chunk_is_a_view_and_not_a_copy() -> None:
    payload = encode_chunk(DIGEST, 0, bytes(1000))

    assert decode_frame(payload).data.obj is payload


def test_a_sender_says_that_it_does_not_have_a_blob() -> None:
    frame = decode_frame(encode_unknown_blob(DIGEST))

    assert (frame.digest, frame.is_unknown, len(frame.data)) == (DIGEST, True, 0)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "frame-malformed"),
        (bytes(HEADER.size - 1), "frame-malformed"),
        (bytes(MAX_PAYLOAD_BYTES + 1), "frame-malformed"),
        (b"\x02" + encode_chunk(DIGEST, 0, b"x")[1:], "frame-version"),
        (b"\x01\x03" + encode_chunk(DIGEST, 0, b"x")[2:], "frame-malformed"),
        (encode_chunk(DIGEST, 0, bytes(CHUNK_BYTES + 1)), "frame-malformed"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(payload: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        decode_frame(payload)

    assert refused.value.code == code


@given(st.binary(max_size=200) | st.builds(lambda tail: b"\x01" + tail, st.binary(max_size=200)))
def test_no_bytes_raise_anything_but_a_refusal(payload: bytes) -> None:
    try:
        frame = decode_frame(payload)
    except Rejected:
        return
    version, kind, digest, index = struct.unpack(">BB32sI", payload[:38])

    assert (version, kind in {0, 1}, digest.hex(), index) == (1, True, frame.digest, frame.index)
    assert bytes(frame.data) == payload[38:]


@given(st.integers(0, 5 * CHUNK_BYTES + 7))
@example(0)
@example(CHUNK_BYTES)
@example(CHUNK_BYTES + 1)
def test_chunks_cover_a_blob_exactly(size_bytes: int) -> None:
    sizes = [chunk_size_bytes(size_bytes, index) for index in range(chunk_count(size_bytes))]

    assert sum(sizes) == size_bytes
    assert all(size == CHUNK_BYTES for size in sizes[:-1])
    assert all(size > 0 for size in sizes)


def test_the_word_that_a_blob_is_broadcast_comes_back() -> None:
    frame = decode_frame(encode_shared_blob(DIGEST))

    assert (frame.digest, frame.is_shared, frame.is_unknown, len(frame.data)) == (DIGEST, True, False, 0)
