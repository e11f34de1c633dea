"""A trace survives its packing, and packing survives strangers."""

from __future__ import annotations

import random
import zlib

import msgspec
import pytest
from edgewright.core.errors import Rejected
from edgewright.core.trace import MAX_MOMENTS, MAX_UNPACKED_BYTES, Trace, TracedRail, TraceWindow, pack_trace, unpack_trace
from hypothesis import given
from hypothesis import strategies as st

RAIL = TracedRail(label="VDD_IN", key="ina3221/1-0040/1", sensor="ina3221")
VALUES = st.lists(st.none() | st.integers(-(10**7), 10**7), max_size=50)


@given(VALUES, VALUES)
def test_a_trace_is_the_same_after_packing(first, second):
    count = min(len(first), len(second))
    trace = Trace(
        rails=(RAIL, RAIL),
        times_us=tuple(range(0, 100_000 * count, 100_000)),
        values_mw=(tuple(first[:count]), tuple(second[:count])),
        begin_s=12.5,
        windows=(TraceWindow(name="inference", start_us=0, end_us=9, inferences=3),),
    )

    assert unpack_trace(pack_trace(trace)) == trace


def test_ten_minutes_of_three_rails_at_ten_hertz_fit_one_message():
    chance = random.Random(0)
    times = tuple(100_000 * index + chance.randrange(100_000) for index in range(6000))
    columns = tuple(tuple(5000 + 40 * chance.randrange(60) for _ in times) for _ in range(3))

    assert len(pack_trace(Trace(rails=(RAIL,) * 3, times_us=times, values_mw=columns))) < 60_000


def packed(*fields):
    return zlib.compress(msgspec.msgpack.encode(fields))


BAD = [
    b"",
    b"not zlib",
    zlib.compress(b"not msgpack"),
    pack_trace(Trace(rails=(), times_us=(), values_mw=()))[:-3],
    packed([], [0, 1], [[1, 2]], [[]], 0.0, []),
    packed([msgspec.to_builtins(RAIL)], [0, 1], [[1]], [[]], 0.0, []),
    packed([msgspec.to_builtins(RAIL)], [0, -1], [[1, 1]], [[]], 0.0, []),
    packed([msgspec.to_builtins(RAIL)] * 65, [], [[]] * 65, [[]] * 65, 0.0, []),
    packed([], [0] * (MAX_MOMENTS + 1), [], [], 0.0, []),
    zlib.compress(bytes(MAX_UNPACKED_BYTES + 1)),
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_trace_is_refused(data):
    with pytest.raises(Rejected) as caught:
        unpack_trace(data)

    assert caught.value.code == "trace-malformed"


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(data):
    with pytest.raises(Rejected):
        unpack_trace(zlib.compress(data))
