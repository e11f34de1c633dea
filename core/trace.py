"""A recorded trace of power, as it is kept in a file, sent over the wire and drawn. Small: differences of whole numbers, compressed.

Rules:
- times are microseconds since `begin_s` of the device's monotonic clock, ascending; values are whole milliwatts, None where a reading failed;
- `unpack_trace` bounds what it unpacks before it parses, and checks every column: it reads what strangers sent.
"""

from __future__ import annotations

import zlib
from itertools import pairwise

import msgspec

from .errors import Rejected
from .measurement import Value

MAX_RAILS = 64
MAX_MOMENTS = 200_000
MAX_UNPACKED_BYTES = 32 << 20
MAX_WINDOWS = 1000


class TracedRail(Value, frozen=True, kw_only=True):
    """One column."""

    label: str
    key: str
    sensor: str


class TraceWindow(Value, frozen=True, kw_only=True):
    """A stretch of the trace and what happened in it; `inferences` is None where nothing was counted."""

    name: str
    start_us: int
    end_us: int
    inferences: int | None = None


class Trace(Value, frozen=True, kw_only=True):
    """Power over time, by rail."""

    rails: tuple[TracedRail, ...]
    times_us: tuple[int, ...]
    values_mw: tuple[tuple[int | None, ...], ...]
    begin_s: float = 0.0
    windows: tuple[TraceWindow, ...] = ()


class _Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What is compressed: first numbers and differences. A missing value repeats the one before, and its place is in `missing`."""

    rails: tuple[TracedRail, ...]
    times_us: tuple[int, ...]
    values_mw: tuple[tuple[int, ...], ...]
    missing: tuple[tuple[int, ...], ...]
    begin_s: float
    windows: tuple[TraceWindow, ...]


def pack_trace(trace: Trace) -> bytes:
    """The trace in few bytes."""
    missing = tuple(tuple(index for index, value in enumerate(column) if value is None) for column in trace.values_mw)
    columns = tuple(_differences(_filled(column)) for column in trace.values_mw)
    packed = _Packed(trace.rails, _differences(trace.times_us), columns, missing, trace.begin_s, trace.windows)
    return zlib.compress(msgspec.msgpack.encode(packed), 9)


def unpack_trace(data: bytes) -> Trace:
    """The trace that was packed.

    Raises:
        Rejected: ``trace-malformed``.
    """
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(data, MAX_UNPACKED_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise _malformed("is larger than allowed, or cut off")
        packed = msgspec.msgpack.decode(plain, type=_Packed)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"cannot be unpacked: {error}") from error
    _check(packed)
    columns = tuple(_sums(column) for column in packed.values_mw)
    gaps = tuple(frozenset(places) for places in packed.missing)
    values = tuple(tuple(None if index in gap else value for index, value in enumerate(column)) for column, gap in zip(columns, gaps, strict=True))
    return Trace(rails=packed.rails, times_us=_sums(packed.times_us), values_mw=values, begin_s=packed.begin_s, windows=packed.windows)


def _check(packed: _Packed) -> None:
    moments = len(packed.times_us)
    if len(packed.rails) > MAX_RAILS or moments > MAX_MOMENTS or len(packed.windows) > MAX_WINDOWS:
        raise _malformed("has too many rails, moments or windows")
    if not len(packed.rails) == len(packed.values_mw) == len(packed.missing):
        raise _malformed("has columns without rails")
    if any(len(column) != moments for column in packed.values_mw):
        raise _malformed("has columns of different lengths")
    if any(difference < 0 for difference in packed.times_us[1:]):
        raise _malformed("goes back in time")


def _malformed(what: str) -> Rejected:
    return Rejected("trace-malformed", f"a trace {what}", "Update the agent or the controller")


def _filled(column: tuple[int | None, ...]) -> tuple[int, ...]:
    last, found = 0, []
    for value in column:
        last = last if value is None else value
        found.append(last)
    return tuple(found)


def _differences(values: tuple[int, ...]) -> tuple[int, ...]:
    return values[:1] + tuple(after - before for before, after in pairwise(values))


def _sums(differences: tuple[int, ...]) -> tuple[int, ...]:
    total, found = 0, []
    for difference in differences:
        total += difference
        found.append(total)
    return tuple(found)
