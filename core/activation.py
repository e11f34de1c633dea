"""When a device may switch to a new engine: at once, in a time window, or when it is idle. Pure.

Times of day are UTC: boards have no battery clock, and no idea of where they stand.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .errors import Rejected

DAY_MIN = 1440

Minute = Annotated[int, Meta(ge=0, le=DAY_MIN)]
Weekday = Annotated[int, Meta(ge=0, le=6)]


class Activation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The policy. ``window``: between `from_min` and `to_min`, minutes of the day, over midnight where the first is the greater, and on `days`
    (0 = Monday; none = every day; a window over midnight belongs to the day it begins on). ``idle``: once the processor has been used for at most
    `idle_cpu_percent` over `idle_s`.
    """

    kind: Literal["at-once", "window", "idle"] = "at-once"
    from_min: Minute = 0
    to_min: Minute = 0
    days: Annotated[tuple[Weekday, ...], Meta(max_length=7)] = ()
    idle_cpu_percent: Annotated[float, Meta(ge=0, le=100)] = 20.0
    idle_s: Annotated[float, Meta(ge=0, le=86400)] = 300.0


AT_ONCE = Activation()


def may_activate(policy: Activation, now_s: float, idle_s: float) -> bool:
    """Whether a device may switch now; `idle_s` says for how long it has been idle by the policy's measure."""
    if policy.kind == "window":
        moment = time.gmtime(now_s)
        minute = moment.tm_hour * 60 + moment.tm_min
        return _is_in_window(policy, minute, moment.tm_wday)
    return policy.kind == "at-once" or idle_s >= policy.idle_s


def _is_in_window(policy: Activation, minute: int, weekday: int) -> bool:
    if policy.from_min < policy.to_min:
        return policy.from_min <= minute < policy.to_min and _is_day(policy, weekday)
    if minute >= policy.from_min:
        return _is_day(policy, weekday)
    return minute < policy.to_min and _is_day(policy, (weekday - 1) % 7)


def _is_day(policy: Activation, weekday: int) -> bool:
    return not policy.days or weekday in policy.days


def parse_activation(text: str) -> Activation:
    """``at-once``, ``idle`` or a window as ``02:00-05:30``.

    Raises:
        Rejected: ``activation-malformed``.
    """
    if text == "at-once":
        return AT_ONCE
    if text == "idle":
        return Activation(kind="idle")
    begin, dash, end = text.partition("-")
    minutes = [_minute(begin), _minute(end)]
    if not dash or None in minutes or minutes[0] == minutes[1]:
        raise Rejected("activation-malformed", f"{text!r} is no activation policy", "Use at-once, idle, or a window in UTC as 02:00-05:30")
    return Activation(kind="window", from_min=minutes[0] or 0, to_min=minutes[1] or 0)


def _minute(text: str) -> int | None:
    hours, colon, minutes = text.partition(":")
    if not colon or not (hours.isdecimal() and hours.isascii() and minutes.isdecimal() and minutes.isascii()) or len(minutes) != 2:
        return None
    value = int(hours) * 60 + int(minutes)
    return value if int(minutes) < 60 and value <= DAY_MIN else None
