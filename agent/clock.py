"""The best idea of the time on a board without a battery clock. Pure.

The latest of the system clock, the last signed time seen, and the release date of this program: time never runs backwards past any of them,
so that an expired message stays expired after a reboot into 1970 (The Update Framework's fast-forward and freeze considerations).
"""

from __future__ import annotations

RELEASED_S = 1_795_000_000.0  # 2026-11-18: no message of this program is older


def best_time_s(system_s: float, signed_s: float) -> float:
    return max(system_s, signed_s, RELEASED_S)
