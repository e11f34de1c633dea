"""Measures a model in each allowed power mode: which modes are worth having, and which is the cheapest that meets a deadline.

The order is random and the first mode comes last once more: what differs between its two measurements is drift, not mode. Each mode is measured in
a child of its own, because cores come and go with the mode.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.errors import EdgewrightError, Reason, Unfit, error_from_reason
from ..core.profile import Profile, ProfileOrder
from ..profiling.conditions import Snapshot
from ..profiling.mode_journal import original_mode_kept
from ..profiling.power_modes import PowerMode, Switch
from .child import Limits, run_child
from .request import ProfileRequest

COOL_WITHIN_C = 2.0
COOL_S = 180.0
COOL_POLL_S = 1.0
MARGIN_S = 120.0
Measure = Callable[[PowerMode], Profile]


class SweepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement in one mode; `reason` where there is none. `is_repeat` marks the first mode's second turn."""

    mode: int
    name: str
    profile: Profile | None
    reason: Reason | None = None
    is_repeat: bool = False

    @property
    def p99_ms(self) -> float | None:
        return None if self.profile is None or self.profile.latency_ms is None else self.profile.latency_ms.p99

    @property
    def energy_mj(self) -> float | None:
        return None if self.profile is None or self.profile.energy_mj is None else self.profile.energy_mj.mean


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """`pareto` and `cheapest` are ids of modes; `drift_percent` is how the first mode's energy (or latency) changed until its second turn."""

    original: int
    rows: tuple[SweepRow, ...]
    pareto: tuple[int, ...]
    cheapest: int | None
    cheapest_reason: str | None
    drift_percent: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """What a sweep works with."""

    modes: tuple[PowerMode, ...]
    switch: Switch
    measure: Measure
    look: Callable[[], Snapshot]
    is_on_battery: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock_s: Callable[[], float] = time.monotonic


def sweep(bench: Bench, journal: Path, *, deadline_ms: float | None, notes: Sequence[str] = (), chance: random.Random | None = None) -> SweepResult:
    """Measure in every mode, then go back to the original one.

    Raises:
        Unfit: ``sweep-no-modes``, ``sweep-supply-weak`` or ``mode-unknown``; nothing was changed.
    """
    if not bench.modes:
        raise Unfit("sweep-no-modes", "no power mode may be switched to here: " + "; ".join(notes or ["this board has no nvpmodel"]), _ALLOW)
    if bench.is_on_battery:
        raise Unfit("sweep-supply-weak", "the board runs on its battery, which would drain and sag", "Connect the supply")
    before = bench.look()
    if before.over_current.get("oc1", 0) > 0:
        message = f"the supply was too weak {before.over_current['oc1']} times since boot (oc1): a faster mode may brown the board out"
        raise Unfit("sweep-supply-weak", message, "Use a stronger supply and boot again")
    order = list(bench.modes)
    (chance or random.Random()).shuffle(order)
    coolest_c = max(before.temperatures_c.values(), default=None)
    rows = []
    with original_mode_kept(journal, bench.switch) as original:
        for index, mode in enumerate([*order, order[0]]):
            rows.append(_measure(bench, mode, is_repeat=index == len(order)))
            _cool_down(bench, coolest_c)
    cheapest, reason = cheapest_within(rows, deadline_ms)
    return SweepResult(
        original=original,
        rows=tuple(rows),
        pareto=pareto(rows),
        cheapest=cheapest,
        cheapest_reason=reason,
        drift_percent=_drift_percent(rows),
        notes=tuple(notes),
    )


_ALLOW = "List ids in [modes] allow of /etc/edgewright/power.toml"


def _measure(bench: Bench, mode: PowerMode, *, is_repeat: bool) -> SweepRow:
    try:
        bench.switch.change(mode.id)
        found = bench.measure(mode)
    except EdgewrightError as error:
        return SweepRow(mode=mode.id, name=mode.name, profile=None, reason=error.reason, is_repeat=is_repeat)
    return SweepRow(mode=mode.id, name=mode.name, profile=found, is_repeat=is_repeat)


def _cool_down(bench: Bench, reference_c: float | None) -> None:
    """Wait until the hottest zone is near where it was, at most `COOL_S`."""
    until_s = bench.clock_s() + COOL_S
    while reference_c is not None and bench.clock_s() < until_s:
        if max(bench.look().temperatures_c.values(), default=reference_c) <= reference_c + COOL_WITHIN_C:
            return
        bench.sleep(COOL_POLL_S)


def measure_in_child(path: Path, *, seconds: float, backend: str | None, threads: int, batch: int) -> Measure:
    """How a mode is measured for real."""

    def measure(_mode: PowerMode) -> Profile:
        request = ProfileRequest(order=ProfileOrder(seconds=seconds), path=str(path), backend=backend, threads=threads, batch=batch)
        outcome = run_child("profile", msgspec.json.encode(request), Limits(time_s=4 * seconds + MARGIN_S, nice=0))
        if outcome.result is None:
            assert outcome.reason is not None
            raise error_from_reason(outcome.reason)
        return msgspec.json.decode(outcome.result, type=Profile)

    return measure


def pareto(rows: Sequence[SweepRow]) -> tuple[int, ...]:
    """The modes that no other beats in both latency (p99) and energy, fastest first. A repeat does not count."""
    known = [(row.p99_ms, row.energy_mj, row.mode) for row in rows if not row.is_repeat]
    points = sorted((p99, energy, mode) for p99, energy, mode in known if p99 is not None and energy is not None)
    front: list[int] = []
    least = float("inf")
    for _, energy, mode in points:
        if energy < least:
            front.append(mode)
            least = energy
    return tuple(front)


def cheapest_within(rows: Sequence[SweepRow], deadline_ms: float | None) -> tuple[int | None, str | None]:
    """The mode of least energy whose p99 meets the deadline (None = any); or why there is none."""
    known = [(row.energy_mj, row.mode, row.p99_ms) for row in rows if not row.is_repeat]
    measured = [(energy, mode, p99) for energy, mode, p99 in known if energy is not None and p99 is not None]
    if not measured:
        return None, "no mode has both its latency and its energy measured"
    meeting = [(energy, mode) for energy, mode, p99 in measured if deadline_ms is None or p99 <= deadline_ms]
    if not meeting:
        return None, f"no mode meets {deadline_ms:g} ms: the fastest needs {min(p99 for _, _, p99 in measured):.3g} ms (p99)"
    return min(meeting)[1], None


def _drift_percent(rows: Sequence[SweepRow]) -> float | None:
    """Between the first mode's two turns: of the energy, or of the latency where energy is not known."""
    last = rows[-1]
    first = next(row for row in rows if row.mode == last.mode)
    for before, after in ((first.energy_mj, last.energy_mj), (first.p99_ms, last.p99_ms)):
        if before is not None and after is not None and before > 0:
            return 100 * (after / before - 1)
    return None
