"""The student of a recipe, as further candidates: taught on the device where PyTorch, power and time allow it; else a note says why not."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..compression.recipe import StudentOrder
from ..core.errors import EdgewrightError
from ..distillation.request import DistillOptions, Quantize
from ..distillation.school import open_school
from ..distillation.torch_here import torch_missing
from .build import Built, unfinished
from .climb import Climb
from .distilling import STUDENT, make_student
from .ladder import FALLBACK
from .run import Run

NAME = "student"
MIN_MINUTES = 0.2
# Of the time that the budget has left: the rest is for building and measuring.
_SHARE_OF_REST = 0.6


def build_apprentice(
    run: Run,
    order: StudentOrder,
    backend: str,
    data: Path,
    start: float,
    stop: float,
    *,
    quantizes: bool,
    obstacle: Callable[[], str | None],
) -> list[Built]:
    """Engines of a student of the run's model, in float and in INT8; nothing, with a note, when it cannot be taught here and now.

    `obstacle` says what stands against long work at present.
    """
    minutes = min(order.minutes, _minutes_left(run))
    reason = _obstacle(run, minutes) or obstacle()
    if reason is not None:
        run.notes.append(f"no student was taught: {reason}")
        return []
    try:
        return _build(run, order.student, minutes, backend, data, start, stop, quantizes=quantizes)
    except EdgewrightError as error:
        if error.code in {"cancelled", "disk-full", "disk-read-only"}:
            raise
        run.notes.append(f"no student was taught: {error.reason.line()}")
        return []


def _obstacle(run: Run, minutes: float) -> str | None:
    missing = torch_missing()
    if missing is not None:
        return missing
    if len(run.subject.outputs) > 1:
        return "the model has several outputs, and a student learns one"
    return f"the budget leaves {60 * minutes:.0f} s for it" if minutes < MIN_MINUTES else None


def _minutes_left(run: Run) -> float:
    limit_s = run.request.budget.max_build_s
    return float("inf") if limit_s is None else _SHARE_OF_REST * max(0.0, limit_s - (time.monotonic() - run.started_s)) / 60


def _build(run: Run, student: str, minutes: float, backend: str, data: Path, start: float, stop: float, *, quantizes: bool) -> list[Built]:
    subject, share = run.subject, (stop - start) / 4
    dialect: Quantize = "none" if not quantizes else "onnxruntime" if backend == FALLBACK else "tensorrt"
    # As many epochs as the time allows: the limit on minutes ends it.
    options = DistillOptions(student=student, minutes=minutes, epochs=10_000, threads=run.request.threads, quantize=dialect)
    with unfinished(run.out, "student") as work, unfinished(run.out, "student-calibration") as ranges:
        with open_school(subject.path, subject.card, lambda: subject.dataset(data), options) as school:
            made = make_student(school, options, work, resumes=False, progress=run.part(start, start + 2 * share), stop=run.cancel)
        run.check_cancelled()
        target = work / STUDENT
        target.write_bytes(made.model.SerializeToString())
        card = subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, target.with_suffix(".toml"))
        run.notes.append(f"a student was taught: {made.spec}")
        smaller = replace(subject, path=target)
        climb = Climb(run, backend, smaller, NAME)
        climb.build_exact(start + 2 * share, start + 2.5 * share)
        if quantizes and climb.built:
            sources = climb.write_sources(smaller.dataset(data), ranges, start + 2.5 * share, start + 3.5 * share, quantizes=True)
            climb.build_others(sources, start + 3.5 * share, stop)
    return climb.built
