"""The pipeline: compress, calibrate, build, measure, gate. Used by ``edgewright optimize`` and by the daemon's worker alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..compression.recipe import Recipe, named_recipe, recipe_from_toml
from ..core.dataset import Dataset
from ..core.errors import Rejected
from ..core.measurement import Candidate, Fidelity
from ..engines.discovery import usable_backend
from .apprentice import build_apprentice
from .automatic import build_rewritten, search_for_best
from .build import Built, finish_engine, unfinished
from .choose import choose, goal_of
from .climb import Climb
from .compressing import build_compressed
from .decode import runnable_model
from .judging import Judge
from .measure import first_feeds, measure_timing
from .request import OptimizeRequest, OptimizeResult
from .run import Run
from .spare import why_not_now
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
    started = time.monotonic() - request.spent_s
    recipe = _recipe(request)
    with runnable_model(Path(request.model), Path(request.out)) as model:
        run = Run(request, progress, cancel, _workshop(request), open_subject(model), Path(request.out), started)
        return _optimize(run, recipe)


def _optimize(run: Run, recipe: Recipe) -> OptimizeResult:
    request, subject = run.request, run.subject
    backend, _ = usable_backend(request.backend)
    calibration_set = _dataset(subject, request.calibration)
    evaluation_set = _dataset(subject, request.evaluation)

    climb = Climb(run, backend, subject)
    failures = climb.build_exact()
    if not climb.built:
        raise failures[0]
    is_auto = _is_auto(request)
    end = 0.1 if is_auto else 0.25 if recipe.steps else 0.5
    with unfinished(run.out, "calibration") as work:
        sources = climb.write_sources(calibration_set, work, 0.05, end, quantizes=recipe.quantizes)
        climb.build_others(sources, end, end + 0.05)
        built = climb.built
        if is_auto:
            built += run.attempt("int8-tuned", lambda: build_rewritten(run, backend, sources, work)) or []
    judge = _judge(run, evaluation_set or calibration_set, "evaluation" if evaluation_set else "calibration")
    search = None
    if recipe.steps:
        built += build_compressed(run, recipe, backend, calibration_set, 0.3, 0.55)
    if recipe.distill is not None and request.calibration is not None:
        order, lessons, quantizes = recipe.distill, Path(request.calibration), recipe.quantizes
        taught = run.attempt(
            "distillation",
            lambda: build_apprentice(run, order, backend, lessons, 0.4, 0.55, quantizes=quantizes, obstacle=why_not_now),
        )
        built += taught or []
    if is_auto and calibration_set is not None and judge is not None:
        before, data, ruler, progress = tuple(built), calibration_set, judge, run.part(end + 0.05, 0.85)
        floats = frozenset() if sources.calibration is None else frozenset(entry.node for entry in sources.calibration.skipped)
        search = run.attempt("search", lambda: search_for_best(run, before, floats, data, ruler, progress))
        built += [] if search is None else search.built
    candidates = _measure(run, built, judge, 0.86 if is_auto else 0.55)
    refused = frozenset() if search is None else search.refused
    choice = choose([candidate for candidate in candidates if candidate.name not in refused], request.budget, goal_of(request.budget, request.goal))
    for entry, candidate in zip(built, candidates, strict=True):
        finish_engine(
            entry,
            run.workshop,
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
        seconds=time.monotonic() - run.started_s,
        search=None if search is None else search.finished(candidates, run),
    )


def _workshop(request: OptimizeRequest) -> Workshop:
    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    return open_workshop(path(request.identity), path(request.cache), path(request.anchor))


def _recipe(request: OptimizeRequest) -> Recipe:
    """The recipe, held against the data; ``auto`` begins with INT8.

    Raises:
        Rejected: ``recipe-…`` or ``calibration-missing``.
    """
    name = "int8" if _is_auto(request) else request.recipe
    recipe = named_recipe(name) if request.recipe_file is None else recipe_from_toml(Path(request.recipe_file))
    if request.calibration is None and (recipe.quantizes or recipe.needs_data):
        raise Rejected("calibration-missing", f"the recipe {request.recipe} needs calibration data", "Give some, or use recipe none")
    return recipe


def _is_auto(request: OptimizeRequest) -> bool:
    return request.recipe == "auto" and request.recipe_file is None


def _dataset(subject: Subject, path: str | None) -> Dataset | None:
    return None if path is None else subject.dataset(Path(path))


def _judge(run: Run, data: Dataset | None, measured_on: Literal["evaluation", "calibration"]) -> Judge | None:
    if data is None:
        return None
    path = run.request.evaluation if measured_on == "evaluation" else run.request.calibration
    return Judge(run.subject, data, measured_on, Path(path or ""), run.workshop.cache, run.out)


def _measure(run: Run, built: list[Built], judge: Judge | None, start: float) -> tuple[Candidate, ...]:
    subject, request = run.subject, run.request
    fidelities: dict[str, Fidelity | None] = dict.fromkeys((entry.name for entry in built), None)
    data = None if judge is None else judge.data
    if judge is not None:
        fidelities.update(judge.fidelities(built, progress=run.part(start, 0.9), cancel=run.cancel))
    else:
        run.notes.append("fidelity was not measured: there is no evaluation and no calibration data")
    run.check_cancelled()
    run.progress(0.9, "measuring latency and energy")
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
