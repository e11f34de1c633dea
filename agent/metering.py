"""Whether a metered link may carry a model now, and what it has carried. Pure: times, bytes and the owner's policy in, an answer out.

Clocks of boards jump. Rules:
- a period that is over is forgotten when the time is beyond it; bytes are never forgotten because the time went back: a board that boots into 1970,
  or a week ago, goes on in the period that it was in;
- a period that lies further ahead than `MAX_AHEAD_S` came from a wrong clock: what was counted in it counts in the present one.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import msgspec

from ..core.activation import Activation, may_activate
from ..core.errors import Reason

MAX_AHEAD_S = 62 * 86400.0


@dataclass(frozen=True, slots=True)
class Metering:
    """The owner's policy. `offset_s` is what local time is ahead of UTC; windows and days are in it."""

    windows: tuple[Activation, ...] = ()
    max_bytes_per_day: int | None = None
    max_bytes_per_month: int | None = None
    offset_s: float = 0.0

    @property
    def is_metered(self) -> bool:
        return bool(self.windows) or self.max_bytes_per_day is not None or self.max_bytes_per_month is not None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was carried in the day and the month that `now_s`, the latest time that was believed, lies in."""

    now_s: float = 0.0
    day_bytes: int = 0
    month_bytes: int = 0


def counted(usage: Usage, new_bytes: int, now_s: float, offset_s: float = 0.0) -> Usage:
    """`usage` with `new_bytes` that were carried until `now_s`."""
    day_bytes, month_bytes, believed_s = usage.day_bytes, usage.month_bytes, usage.now_s
    if now_s >= believed_s or believed_s - now_s > MAX_AHEAD_S:
        before, after = _local(believed_s, offset_s), _local(now_s, offset_s)
        is_later = now_s >= believed_s
        day_bytes = 0 if is_later and before.date() != after.date() else day_bytes
        month_bytes = 0 if is_later and (before.year, before.month) != (after.year, after.month) else month_bytes
        believed_s = now_s
    return Usage(now_s=believed_s, day_bytes=day_bytes + new_bytes, month_bytes=month_bytes + new_bytes)


def why_not(policy: Metering, usage: Usage, now_s: float) -> Reason | None:
    """Why no model may be fetched now; None = it may."""
    usage = counted(usage, 0, now_s, policy.offset_s)
    local_s = usage.now_s + policy.offset_s
    if policy.windows and not any(may_activate(window, local_s, 0.0) for window in policy.windows):
        hours = ", ".join(f"{_clock(window.from_min)}-{_clock(window.to_min)}" for window in policy.windows)
        return Reason("link-window", f"models are fetched from {hours} on this device's link", "Wait, or send it as urgent", "unfit")
    for name, used, limit in (("day", usage.day_bytes, policy.max_bytes_per_day), ("month", usage.month_bytes, policy.max_bytes_per_month)):
        if limit is not None and used >= limit:
            message = f"this device's link has carried {used / 1e6:.1f} MB this {name}, and may carry {limit / 1e6:.1f} MB"
            return Reason("link-budget", message, f"Wait for the next {name}, or send it as urgent", "unfit")
    return None


def with_offset(policy: Metering, offset_s: float) -> Metering:
    """The same policy where local time is `offset_s` ahead of UTC: it changes twice a year."""
    return replace(policy, offset_s=offset_s)


def _local(now_s: float, offset_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_s + offset_s, tz=dt.timezone.utc)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
