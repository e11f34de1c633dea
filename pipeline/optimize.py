"""The pipeline: compress, calibrate, build, measure, gate. Used by ``edgewright optimize`` and by the daemon's worker alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..calibration.calibrate import Calibration
from ..core.dataset import Dataset
from ..core.errors import Rejected
from ..core.measurement import Candidate, Fidelity
from ..engines.discovery import usable_backend
from .build import Built, finish_engine, unfinished
from .calibrating import run_calibration
from .choose import choose
from .climb import Climb
from .judging import Judge
from .measure import first_feeds, measure_timing
from .request import RECIPES, OptimizeRequest, OptimizeResult
from .run import Run
from .subject import Subject, batch_for, open_subject
from .workshop import Workshop, open_workshop

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]


def optimize(request: OptimizeRequest, *, progress: Progress, cancel: Cancel) -> OptimizeResult:
    """Find the best engine for this device inside the budget.

    Raises:
        Rejected: the model, its data or the request is at fault.
        Unfit: this device cannot, or ``cancelled``.
    """
    started = time.monotonic()
    wants_int8 = _wants_int8(request)
    backend, _ = usable_backend(request.backend)
    subject = open_subject(Path(request.model))
    run = Run(request, progress, cancel, _workshop(request), subject, Path(request.out), started)
    calibration_set = _dataset(subject, request.calibration)
    evaluation_set = _dataset(subject, request.evaluation)

    climb = Climb(run, backend)
    climb.build_exact()
    with unfinished(run.out, "calibration") as work:
        climb.build_others(_calibrate(run, calibration_set, work) if wants_int8 else None)
    built = climb.built
    candidates = _measure(run, built, evaluation_set or calibration_set, "evaluation" if evaluation_set else "calibration")
    choice = choose(candidates, request.budget)
    for entry, candidate in zip(built, candidates, strict=True):
        finish_engine(
            entry,
            run.workshop,
            model_name=request.model_name or subject.path.stem,
            deployment=request.deployment,
            model_version=request.model_version,
            candidate=candidate,
        )
    progress(1.0, "gated")
    return OptimizeResult(
        chosen=choice.candidate,
        baseline=candidates[0],
        candidates=candidates,
        verdict="accepted" if choice.verdict.accepted else "rejected",
        reasons=choice.verdict.reasons,
        checks=choice.verdict.checks,
        notes=(*run.notes, *choice.notes),
        seconds=time.monotonic() - started,
    )


def _workshop(request: OptimizeRequest) -> Workshop:
    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    return open_workshop(path(request.identity), path(request.cache), path(request.anchor))


def _wants_int8(request: OptimizeRequest) -> bool:
    if request.recipe not in RECIPES:
        raise Rejected("recipe-unknown", f"there is no recipe {request.recipe!r}", f"Use one of: {', '.join(RECIPES)}")
    if request.recipe == "none":
        return False
    if request.calibration is None:
        raise Rejected("calibration-missing", f"the recipe {request.recipe} needs calibration data", "Give some, or use recipe none")
    return True


def _dataset(subject: Subject, path: str | None) -> Dataset | None:
    return None if path is None else subject.dataset(Path(path))


def _calibrate(run: Run, data: Dataset | None, work: Path) -> Calibration | None:
    """The quantised files in `work`, or None with a note when this model has nothing to quantise."""
    assert data is not None
    try:
        found = run_calibration(run.request, run.subject, data, work, run.part(0.05, 0.5), run.cancel, run.workshop.cache)
    except Rejected as error:
        if error.code != "nothing-to-quantise":
            raise
        run.notes.append(error.message)
        return None
    run.notes += [*found.warnings, *(f"{entry.node} ({entry.op}) stays in float: {entry.reason}" for entry in found.skipped)]
    return found


def _measure(run: Run, built: list[Built], data: Dataset | None, measured_on: Literal["evaluation", "calibration"]) -> tuple[Candidate, ...]:
    subject, request = run.subject, run.request
    fidelities: dict[str, Fidelity | None] = dict.fromkeys((entry.name for entry in built), None)
    if data is not None:
        evaluated = request.evaluation if measured_on == "evaluation" else request.calibration
        judge = Judge(subject, data, measured_on, Path(evaluated or ""), run.workshop.cache, run.out)
        fidelities.update(judge.fidelities(built, progress=run.part(0.55, 0.85), cancel=run.cancel))
    else:
        run.notes.append("fidelity was not measured: there is no evaluation and no calibration data")
    run.check_cancelled()
    run.progress(0.86, "measuring latency and energy")
    batch = batch_for(subject.inputs, request.batch)
    timings = measure_timing(
        {entry.name: entry.under_test for entry in built},
        dict.fromkeys((entry.name for entry in built), first_feeds(data, batch) if data is not None else None),
        seconds=request.bench_seconds,
        batch=batch,
        cancel=run.cancel,
    )
    return tuple(
        Candidate(
            name=entry.name,
            backend=entry.engine.backend,
            path=str(entry.engine.path),
            size_bytes=entry.engine.size_bytes,
            latency_ms=timings[entry.name].latency_ms,
            energy_mj=timings[entry.name].energy_mj,
            energy_reason=timings[entry.name].energy_reason,
            fidelity=fidelities[entry.name],
            conditions=timings[entry.name].conditions,
            build_s=round(entry.build_s, 3),
            build_memory_mb=round(entry.build_memory_mb, 1),
            fingerprint=entry.fingerprint,
            precision=entry.options.precision,
            is_cached=entry.is_cached,
        )
        for entry in built
    )
