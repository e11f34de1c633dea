"""The pipeline: compress, calibrate, build, measure, gate. Used by ``edgewright optimize`` and by the daemon's worker alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..calibration.calibrate import Calibration, CalibrationOptions, calibrate
from ..calibration.ranges import MethodName
from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..core.measurement import Candidate, Fidelity
from ..engines.discovery import usable_backend
from .build import Built, build_engine, build_options, finish_engine, unfinished
from .choose import choose
from .logits import with_logits
from .measure import first_feeds, measure_fidelity, measure_timing
from .request import RECIPES, OptimizeRequest, OptimizeResult
from .subject import Subject, batch_for, open_subject

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]

BASELINE, INT8 = "fp32", "int8"


@dataclass(slots=True)
class _Run:
    """One run of the pipeline: what the stages hand to each other."""

    request: OptimizeRequest
    progress: Progress
    cancel: Cancel
    notes: list[str] = field(default_factory=list)

    def part(self, start: float, stop: float) -> Progress:
        """Progress of one stage, as a share of the whole."""
        return lambda share, note: self.progress(start + (stop - start) * share, note)


def optimize(request: OptimizeRequest, *, progress: Progress, cancel: Cancel) -> OptimizeResult:
    """Find the best engine for this device inside the budget.

    Raises:
        Rejected: the model, its data or the request is at fault.
        Unfit: this device cannot, or ``cancelled``.
    """
    started = time.monotonic()
    run = _Run(request, progress, cancel)
    out = Path(request.out)
    wants_int8 = _wants_int8(request)
    backend, _ = usable_backend(request.backend)
    subject = open_subject(Path(request.model))
    calibration_set = _dataset(subject, request.calibration)
    evaluation_set = _dataset(subject, request.evaluation)

    baseline = _build_baseline(run, subject, backend, out)
    built = [baseline]
    if wants_int8:
        int8 = _build_int8(run, subject, backend, calibration_set, out)
        if int8 is not None:
            built.append(int8)
    candidates = _measure(run, subject, built, evaluation_set or calibration_set, "evaluation" if evaluation_set else "calibration")
    choice = choose(candidates, request.budget)
    for entry, candidate in zip(built, candidates, strict=True):
        finish_engine(
            entry,
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


def _build_baseline(run: _Run, subject: Subject, backend: str, out: Path) -> Built:
    options = build_options(subject, precision="fp32", threads=run.request.threads, batch=run.request.batch)
    return build_engine(BASELINE, backend, subject.path, subject, out, options, progress=run.part(0.0, 0.05))


def _build_int8(run: _Run, subject: Subject, backend: str, data: Dataset | None, out: Path) -> Built | None:
    """The INT8 engine, or None with a note when this model has nothing to quantise."""
    assert data is not None
    try:
        with unfinished(out, "calibration") as work:
            calibration = run_calibration(run.request, subject, data, work, run.part(0.05, 0.5), run.cancel)
            run.notes += [*calibration.warnings, *(f"{entry.node} ({entry.op}) stays in float: {entry.reason}" for entry in calibration.skipped)]
            options = build_options(subject, precision="int8", threads=run.request.threads, batch=run.request.batch)
            source, table = calibration.onnxruntime, calibration.table
            return build_engine(INT8, backend, source, subject, out, options, table=table, progress=run.part(0.5, 0.55))
    except Rejected as error:
        if error.code != "nothing-to-quantise":
            raise
        run.notes.append(error.message)
        return None


def run_calibration(request: OptimizeRequest, subject: Subject, data: Dataset, out: Path, progress: Progress, cancel: Cancel) -> Calibration:
    """The calibration stage alone, as ``edgewright calibrate`` runs it too."""
    method: MethodName = request.method  # type: ignore[assignment] # an unknown name is refused by calibrate itself
    options = CalibrationOptions(method=method, repair=request.repair)
    return calibrate(subject.path, data, subject.card, out, options, progress=progress, cancel=cancel)


def _measure(
    run: _Run, subject: Subject, built: list[Built], data: Dataset | None, measured_on: Literal["evaluation", "calibration"]
) -> tuple[Candidate, ...]:
    fidelities: dict[str, Fidelity | None] = dict.fromkeys((entry.name for entry in built), None)
    if data is not None:
        with with_logits(subject, {entry.name: entry.under_test for entry in built}, Path(run.request.out)) as engines:
            fidelities.update(measure_fidelity(subject, BASELINE, engines, data, measured_on, progress=run.part(0.55, 0.85), cancel=run.cancel))
    else:
        run.notes.append("fidelity was not measured: there is no evaluation and no calibration data")
    if run.cancel():
        raise Unfit("cancelled", "the run was cancelled", "Start it again")
    run.progress(0.86, "measuring latency and energy")
    batch = batch_for(subject.inputs, run.request.batch)
    timings = measure_timing(
        {entry.name: entry.under_test for entry in built},
        first_feeds(data, batch) if data is not None else None,
        seconds=run.request.bench_seconds,
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
        )
        for entry in built
    )
