"""Types of the messages' fields: each has a bound, so that whatever was decoded fits every clock, column and file offset. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_COUNT = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
MAX_TIME_S = 253_402_300_799.0  # the end of the year 9999, the last that calendars of programming languages know
MAX_DEADLINE_S = 366 * 86400.0

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
ChunkIndex = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_TIME_S)]
Deadline = Annotated[float, Meta(gt=0, le=MAX_DEADLINE_S)]
Share = Annotated[float, Meta(ge=0, le=1)]
# The lengths are not said twice for nothing: `$` also matches before a line's end.
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
Name = Annotated[str, Meta(max_length=64)]
Identity = Annotated[str, Meta(max_length=128)]
