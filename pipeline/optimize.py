"""The pipeline: compress, calibrate, build, measure, gate. Used by ``edgewright optimize`` and by the daemon's worker alike."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..calibration.calibrate import Calibration, CalibrationOptions, calibrate
from ..calibration.ranges import MethodName
from ..compression.recipe import Recipe, named_recipe, recipe_from_toml
from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..core.measurement import Candidate, Fidelity
from ..engines.discovery import usable_backend
from .build import Built, build_engine, build_options, finish_engine, unfinished
from .choose import choose
from .compress import compress_subject, write_result
from .decode import runnable_model
from .logits import with_logits
from .measure import first_feeds, measure_fidelity, measure_timing
from .request import OptimizeRequest, OptimizeResult
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
        return _part(self.progress, start, stop)


def optimize(request: OptimizeRequest, *, progress: Progress, cancel: Cancel) -> OptimizeResult:
    """Find the best engine for this device inside the budget.

    Raises:
        Rejected: the model, its data or the request is at fault.
        Unfit: this device cannot, or ``cancelled``.
    """
    with runnable_model(Path(request.model), Path(request.out)) as model:
        return _optimize(_Run(request, progress, cancel), _recipe(request), model)


def _optimize(run: _Run, recipe: Recipe, model: Path) -> OptimizeResult:
    started = time.monotonic()
    request, out = run.request, Path(run.request.out)
    backend, _ = usable_backend(request.backend)
    subject = open_subject(model)
    calibration_set = _dataset(subject, request.calibration)
    evaluation_set = _dataset(subject, request.evaluation)

    baseline = _build_baseline(run, subject, backend, out)
    built = [baseline]
    if recipe.quantizes:
        built += _build_int8(run, subject, backend, calibration_set, INT8, run.part(0.05, 0.3 if recipe.steps else 0.55))
    if recipe.steps:
        built += _build_compressed(run, subject, recipe, backend, calibration_set)
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
    run.progress(1.0, "gated")
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


def _recipe(request: OptimizeRequest) -> Recipe:
    """The recipe, held against the data; ``auto`` is INT8.

    Raises:
        Rejected: ``recipe-…`` or ``calibration-missing``.
    """
    name = "int8" if request.recipe == "auto" else request.recipe
    recipe = named_recipe(name) if request.recipe_file is None else recipe_from_toml(Path(request.recipe_file))
    if request.calibration is None and (recipe.quantizes or recipe.needs_data):
        raise Rejected("calibration-missing", f"the recipe {request.recipe} needs calibration data", "Give some, or use recipe none")
    return recipe


def _dataset(subject: Subject, path: str | None) -> Dataset | None:
    return None if path is None else subject.dataset(Path(path))


def _build_baseline(run: _Run, subject: Subject, backend: str, out: Path) -> Built:
    options = build_options(subject, precision="fp32", threads=run.request.threads, batch=run.request.batch)
    return build_engine(BASELINE, backend, subject.path, subject, out, options, progress=run.part(0.0, 0.05))


def _build_int8(run: _Run, subject: Subject, backend: str, data: Dataset | None, name: str, progress: Progress) -> list[Built]:
    """The INT8 engine of the model at `subject.path`, or nothing with a note when it has nothing to quantise."""
    assert data is not None
    out = Path(run.request.out)
    try:
        with unfinished(out, "calibration") as work:
            calibration = run_calibration(run.request, subject, data, work, _part(progress, 0.0, 0.9), run.cancel)
            run.notes += [*calibration.warnings, *(f"{entry.node} ({entry.op}) stays in float: {entry.reason}" for entry in calibration.skipped)]
            options = build_options(subject, precision="int8", threads=run.request.threads, batch=run.request.batch)
            source, table = calibration.onnxruntime, calibration.table
            return [build_engine(name, backend, source, subject, out, options, table=table, progress=_part(progress, 0.9, 1.0))]
    except Rejected as error:
        if error.code != "nothing-to-quantise":
            raise
        run.notes.append(error.message)
        return []


def _build_compressed(run: _Run, subject: Subject, recipe: Recipe, backend: str, data: Dataset | None) -> list[Built]:
    """Engines of the compressed model, in float and, where the recipe quantises, in INT8; nothing with notes when no pass gained anything."""
    out, part = Path(run.request.out), run.part(0.3, 0.55)
    result = compress_subject(
        subject, recipe, data, repair=run.request.repair, threads=run.request.threads, progress=_part(part, 0.0, 0.7), cancel=run.cancel
    )
    for report in result.passes:
        run.notes += [f"{report.name} {'did nothing' if report.outcome == 'nothing' else 'was undone'}: {report.reason}"] if report.reason else []
    run.notes += result.notes
    if not result.changed:
        return []
    with unfinished(out, "compressed") as work:
        target = work / "model.onnx"
        write_result(result.model, subject.path, target, changed=True)
        card = subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, target.with_suffix(".toml"))
        smaller = replace(subject, path=target)
        options = build_options(smaller, precision="fp32", threads=run.request.threads, batch=run.request.batch)
        built = [build_engine(recipe.name, backend, target, smaller, out, options, progress=_part(part, 0.7, 0.75))]
        if recipe.quantizes:
            built += _build_int8(run, smaller, backend, data, f"{recipe.name}-{INT8}", _part(part, 0.75, 1.0))
    return built


def _part(progress: Progress, start: float, stop: float) -> Progress:
    return lambda share, note: progress(start + (stop - start) * share, note)


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
