"""Numbers, times and states as people read them, for the templates."""

from __future__ import annotations

import time

from ...core.errors import Family

_KIND_OF_STATE = {
    "SUCCEEDED": "good",
    "REJECTED": "bad",
    "FAILED": "bad",
    "TIMED_OUT": "bad",
    "CANCELED": "quiet",
    "SUPERSEDED": "quiet",
    "ROLLED_BACK": "quiet",
    "ROLLING_BACK": "warn",
    "PAUSED": "warn",
    "WAITING": "warn",
}
_WHOSE = {"rejected": "What was ordered or sent", "unfit": "This device", "faulty": "The program or the hardware"}
_STATE_WORDS = {"": "not heard of yet", "TIMED_OUT": "timed out", "ROLLING_BACK": "rolling back", "ROLLED_BACK": "rolled back"}


def kind_of(state: str | None) -> str:
    """The style sheet's word for a state: good, bad, warn, quiet, or busy."""
    return "quiet" if not state else _KIND_OF_STATE.get(state, "busy")


def state_words(state: str | None) -> str:
    return _STATE_WORDS.get(state or "", (state or "").lower())


def whose(family: Family) -> str:
    """Whose fault a reason of this family is."""
    return _WHOSE[family]


def ago(moment_s: float | None, now_s: float) -> str:
    if moment_s is None:
        return "never"
    return f"{span(max(0.0, now_s - moment_s))} ago"


def span(seconds: float) -> str:
    """A time in one unit."""
    for limit, unit, words in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {words}"
    return f"{seconds / 86400:.0f} days"


def moment(moment_s: float | None) -> str:
    return "–" if moment_s is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment_s))


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """`value` with so many digits that count."""
    if value is None:
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f} {unit}".replace(",", "\N{NARROW NO-BREAK SPACE}").rstrip()
    return f"{value:#.{digits}g} {unit}".rstrip()


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def size(value: float | None) -> str:
    if value is None:
        return "–"
    for limit, unit in ((1e9, "GB"), (1e6, "MB")):
        if value >= 0.1 * limit:
            return f"{value / limit:.1f} {unit}"
    return f"{value / 1e3:.1f} kB"


def times(before: float | None, now: float | None) -> str:
    """How much less it has become."""
    if not before or not now:
        return "–"
    return f"{before / now:.2f} ×"
