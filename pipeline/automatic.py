"""The recipe ``auto``: INT8 as this runtime likes it best, then the search; what all of it came to, for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ..compression.search.front import svg_of, with_front
from ..compression.search.solve import unavailable
from ..core.dataset import Dataset
from ..core.errors import EdgewrightError
from ..core.files import write_atomic
from ..core.measurement import Candidate, Fidelity
from ..core.search import Point, SearchReport, share_within
from .allowance import Allowance, allowance_of
from .build import Built, build_engine, build_options
from .choose import goal_of
from .judging import Judge
from .ladder import FALLBACK
from .measure import first_feeds, measure_timing
from .outcomes import KeptEngine, Outcome, keep_outcome, outcome_key, take_outcome
from .rewriting import rewrite_here
from .rounds import Expected, Planned
from .run import Run
from .searching import Search
from .sources import Sources
from .spending import QUICK, Effort, Spending
from .subject import batch_for
from .underway import measuring

PLOT_NAME = "front.svg"
TUNED = "int8-tuned"
_RACE_S = 1.0
# What ends the whole run, whatever the search had in hand.
_FATAL = frozenset({"cancelled", "identity-unusable", "disk-full", "disk-read-only"})
Progress = Callable[[float, str], None]


def build_rewritten(run: Run, backend: str, sources: Sources, work: Path) -> list[Built]:
    """The INT8 engine after the exact rewrites that gain here; nothing when none does or another runtime would run it."""
    calibration = sources.calibration
    if backend != FALLBACK or calibration is None or run.why_left_out(TUNED) is not None:
        return []
    target = work / "rewritten.onnx"
    notes = rewrite_here(run, calibration.onnxruntime, target)
    run.notes += [f"{TUNED}: {note}" for note in notes]
    if not notes:
        return []
    options = build_options(run.subject, precision="int8", threads=run.request.threads, batch=run.request.batch)
    table, silent = calibration.table, lambda _share, _note: None
    return [build_engine(TUNED, backend, target, run.subject, run.out, options, run.workshop, table=table, progress=silent)]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search left: engines of plans, and what is to be said of them when all engines have been measured together.

    `key` is what the outcome is kept under; None = it is not kept.
    """

    planned: tuple[Planned, ...]
    report: SearchReport
    allowance: Allowance
    start: str
    key: str | None = None

    @property
    def built(self) -> list[Built]:
        return [entry.built for entry in self.planned]

    @property
    def refused(self) -> frozenset[str]:
        """Engines that lose more than is allowed: they are shown, and never chosen."""
        return frozenset(entry.built.name for entry in self.planned if entry.expected.use > 1)

    def finished(self, candidates: Sequence[Candidate], run: Run) -> SearchReport:
        """The report with every engine as a point; the plot is written into the run's folder, the outcome kept for the next run."""
        times_ms = {candidate.name: _middle_ms(candidate) for candidate in candidates}
        planned = {entry.built.name: entry.expected for entry in self.planned}
        points = with_front([_point(candidate, planned.get(candidate.name), times_ms[self.start], self.allowance) for candidate in candidates])
        if self.key is not None:
            keep_outcome(run, self.key, Outcome(self.start, self.report, self._best(times_ms)))
        if not self.planned:
            return replace(self.report, points=points)
        words = "share of decisions that changed" if points[0].agreement is not None else "noise, as a share of the output"
        write_atomic(run.out / PLOT_NAME, svg_of(points, "Latency and fidelity of every engine that was built", words).encode())
        return replace(self.report, points=points, predicted_within=share_within(points), plot=str(run.out / PLOT_NAME))

    def _best(self, times_ms: Mapping[str, float]) -> KeptEngine | None:
        """The fastest planned engine that is allowed, unless the start is as fast."""
        allowed = [entry for entry in self.planned if entry.expected.use <= 1 and times_ms[entry.built.name] < times_ms[self.start]]
        best = min(allowed, key=lambda entry: times_ms[entry.built.name], default=None)
        return None if best is None else KeptEngine(best.built.name, best.built.fingerprint, best.expected)


def search_for_best(run: Run, built: Sequence[Built], floats: frozenset[str], data: Dataset, judge: Judge, progress: Progress) -> Found | None:
    """Search, beginning with the fastest engine of `built`, of which quantised ones leave `floats` in float.

    Without what a search needs, None and a note, and nothing is measured for it.
    """
    request = run.request
    effort = QUICK if request.quick else Effort(_seconds(run))
    reason = unavailable() if effort.seconds > 0 else "no seconds were given to it"
    if reason is not None:
        run.notes.append(f"there was no search for a better network: {reason}")
        return None
    fidelities = judge.fidelities(built, progress=lambda _share, _note: None, cancel=run.cancel)
    is_labelled = any(fidelity.top1 is not None for fidelity in fidelities.values())
    allowance = allowance_of(request.budget, is_labelled=is_labelled, is_classifier=run.subject.classified is not None)
    run.notes.append(_words(allowance))
    key = outcome_key(run, built, effort)
    earlier = take_outcome(run, key)
    if earlier is not None:
        run.notes.append("an earlier run has searched for this: its outcome was taken. --no-cache or more seconds search again")
        outcome, planned = earlier
        name = outcome.start if any(entry.name == outcome.start for entry in built) else built[-1].name
        return Found(planned, replace(outcome.report, measured=0, is_from_before=True), allowance, name)
    start = _fastest(run, built, data)
    search = Search(
        run,
        start,
        allowance.use(fidelities[start.name]),
        floats,
        data,
        judge,
        allowance,
        Spending(effort, progress),
        goal_of(request.budget, request.goal),
    )
    try:
        report = search.go()
    except EdgewrightError as error:
        if error.code in _FATAL:
            raise
        run.notes.append(f"the search ended early: {error.reason.line()}")
        report = SearchReport(plans=0, measured=0, known=0, seconds=0, is_complete=False)
        return Found(tuple(search.planned), report, allowance, start.name)
    return Found(tuple(search.planned), report, allowance, start.name, key)


def _seconds(run: Run) -> float:
    """What the search may take: the request's seconds, and no more than what the budget leaves for building."""
    most = run.request.budget.max_build_s
    return run.request.search_s if most is None else min(run.request.search_s, max(0.0, 0.7 * most - 10))


def _fastest(run: Run, built: Sequence[Built], data: Dataset) -> Built:
    batch = batch_for(run.subject.inputs, run.request.batch)
    feeds = first_feeds(data, batch)
    under_test = {entry.name: entry.under_test for entry in built}
    with measuring(run.out) as at:
        timed = measure_timing(
            under_test, dict.fromkeys(under_test, feeds), seconds=min(_RACE_S, run.request.bench_seconds), batch=batch, cancel=run.cancel, at=at
        )
    return min(built, key=lambda entry: timed[entry.name].latency_ms.middle)


def _words(allowance: Allowance) -> str:
    if allowance.top1_drop is not None:
        return f"the search keeps within {100 * allowance.top1_drop:g} points of top-1 and {100 * (allowance.agreement or 0):g} % agreement"
    if allowance.agreement is not None:
        return f"there are no labels: the search keeps at least {100 * allowance.agreement:g} % agreement with the original"
    return f"the search keeps at least {allowance.sqnr_db:g} dB"


def _point(candidate: Candidate, planned: Expected | None, start_ms: float, allowance: Allowance) -> Point:
    fidelity: Fidelity | None = candidate.fidelity
    latency = candidate.latency_ms
    use = None if fidelity is None else allowance.use(fidelity)
    is_known = fidelity is not None and fidelity.top1 is not None and fidelity.top1_fp32 is not None
    return Point(
        name=candidate.name,
        latency_ms=_middle_ms(candidate),
        spread_ms=0.0 if latency is None else latency.middle_spread,
        size_bytes=candidate.size_bytes,
        predicted_ms=None if planned is None else planned.share * start_ms,
        summed_ms=None if planned is None else planned.summed_share * start_ms,
        damage=None if planned is None else planned.damage,
        predicted_damage=None if planned is None else planned.predicted_damage,
        top1_drop=(fidelity.top1_fp32 or 0) - (fidelity.top1 or 0) if fidelity is not None and is_known else None,
        agreement=None if fidelity is None else fidelity.agreement,
        sqnr_db=None if fidelity is None else fidelity.sqnr_db,
        energy_mj=None if candidate.energy_mj is None else candidate.energy_mj.mean,
        loss=use,
        is_allowed=use is None or use <= 1,
    )


def _middle_ms(candidate: Candidate) -> float:
    latency = candidate.latency_ms
    assert latency is not None
    return latency.middle
