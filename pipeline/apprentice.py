"""The student of a recipe, as further candidates: taught on the device where PyTorch, power and time allow it; else a note says why not.

A student that was taught is kept: the same teacher, data and order do not teach it again, and nothing has to allow it then.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from .. import compression as compression_package
from .. import distillation as distillation_package
from ..compression.recipe import StudentOrder
from ..core.errors import EdgewrightError
from ..distillation.request import DistillOptions, Quantize
from ..distillation.school import open_school
from ..distillation.torch_here import torch_missing
from ..engines.model import digest_of_model
from .build import Built, unfinished
from .cache import digest_of_code, digest_of_tree, key_of
from .climb import Climb
from .distilling import STUDENT, make_student
from .ladder import FALLBACK
from .place import place_of
from .run import Progress, Run

NAME = "student"
MIN_MINUTES = 0.2
# Of the time that the budget has left: the rest is for building and measuring.
_SHARE_OF_REST = 0.6
_KIND = "students"


class Taught(msgspec.Struct, frozen=True):
    """A student that was taught: its file, and its blocks in words."""

    path: Path
    spec: str


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
    try:
        with unfinished(run.out, "student") as work, unfinished(run.out, "student-calibration") as ranges:
            progress = run.part(start, start + (stop - start) / 2)
            taught = _kept(run, order, backend, data, work, progress, quantizes=quantizes, obstacle=obstacle)
            return [] if taught is None else _build(run, taught, backend, data, ranges, (start + stop) / 2, stop, quantizes=quantizes)
    except EdgewrightError as error:
        if error.code in {"cancelled", "disk-full", "disk-read-only"}:
            raise
        run.notes.append(f"no student was taught: {error.reason.line()}")
        return []


def _kept(
    run: Run, order: StudentOrder, backend: str, data: Path, work: Path, progress: Progress, *, quantizes: bool, obstacle: Callable[[], str | None]
) -> Taught | None:
    """The student in the existing, empty folder `work`, taught now or in an earlier run; None, with a note, when it cannot be."""
    cache, dialect = run.workshop.cache, _dialect(backend, quantizes=quantizes)
    key = "" if cache is None else _key(run, order, data, dialect)
    if cache is not None and (found := cache.take_result(_KIND, key, work, Taught)) is not None:
        progress(1.0, "taught before")
        return found
    minutes = min(order.minutes, _minutes_left(run))
    reason = _obstacle(run, minutes) or obstacle()
    if reason is not None:
        run.notes.append(f"no student was taught: {reason}")
        return None
    taught = _teach(run, order.student, minutes, data, work, progress, dialect)
    if cache is not None:
        cache.put_result(_KIND, key, work, taught)
    return taught


def _key(run: Run, order: StudentOrder, data: Path, dialect: Quantize) -> str:
    """The budget's time is in it: a student that was taught in less is another one."""
    request, card = run.request, run.subject.path.with_suffix(".toml")
    return key_of(
        digest_of_model(run.subject.path),
        digest_of_tree(card if card.is_file() else None),
        digest_of_tree(data),
        order,
        request.budget.max_build_s,
        dialect,
        place_of(FALLBACK, request.threads),
        digest_of_code(distillation_package),
        digest_of_code(compression_package),
    )


def _dialect(backend: str, *, quantizes: bool) -> Quantize:
    return "none" if not quantizes else "onnxruntime" if backend == FALLBACK else "tensorrt"


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


def _teach(run: Run, student: str, minutes: float, data: Path, work: Path, progress: Progress, dialect: Quantize) -> Taught:
    subject = run.subject
    # As many epochs as the time allows: the limit on minutes ends it.
    options = DistillOptions(student=student, minutes=minutes, epochs=10_000, threads=run.request.threads, quantize=dialect)
    with unfinished(run.out, "school") as school_work, open_school(subject.path, subject.card, lambda: subject.dataset(data), options) as school:
        made = make_student(school, options, school_work, resumes=False, progress=progress, stop=run.cancel)
    run.check_cancelled()
    target = work / STUDENT
    target.write_bytes(made.model.SerializeToString())
    return Taught(target, str(made.spec))


def _build(run: Run, taught: Taught, backend: str, data: Path, ranges: Path, start: float, stop: float, *, quantizes: bool) -> list[Built]:
    subject, share = run.subject, (stop - start) / 2
    run.notes.append(f"a student was taught: {taught.spec}")
    card = subject.path.with_suffix(".toml")
    if card.is_file():
        shutil.copyfile(card, taught.path.with_suffix(".toml"))
    smaller = replace(subject, path=taught.path)
    climb = Climb(run, backend, smaller, NAME)
    climb.build_exact(start, start + 0.5 * share)
    if quantizes and climb.built:
        sources = climb.write_sources(smaller.dataset(data), ranges, start + 0.5 * share, start + 1.5 * share, quantizes=True)
        climb.build_others(sources, start + 1.5 * share, stop)
    return climb.built
