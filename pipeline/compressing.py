"""The candidates of a recipe with structural passes: the compressed model's own ladder of engines, beside the original's.

What a recipe came to is kept: the same model, data and recipe on the same device are not compressed again.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from .. import calibration as calibration_package
from .. import compression as compression_package
from ..compression.recipe import Recipe
from ..compression.runner import PassReport
from ..core.dataset import Dataset
from ..engines.discovery import backend_statuses
from ..engines.model import digest_of_model
from .build import Built, unfinished
from .cache import digest_of_code, digest_of_tree, key_of
from .climb import Climb
from .compress import compress_subject, write_result
from .ladder import FALLBACK
from .place import place_of
from .run import Progress, Run

_KIND = "compressions"
_NAME = "model.onnx"


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipe came to; `path` is the model that came out, None when no pass gained anything."""

    path: Path | None
    passes: tuple[PassReport, ...]
    notes: tuple[str, ...]
    is_sparse: bool


def build_compressed(run: Run, recipe: Recipe, backend: str, data: Dataset | None, start: float, stop: float) -> list[Built]:
    """Engines of the compressed model, in float and, where the recipe quantises, in INT8; nothing, with notes, when no pass gained anything."""
    share = (stop - start) / 4
    progress = run.part(start, start + 2 * share)
    with unfinished(run.out, "compressed") as work, unfinished(run.out, "compressed-calibration") as ranges:
        result = run.attempt("compression", lambda: _shrunk(run, recipe, data, work, progress))
        if result is None:
            return []
        for report in result.passes:
            run.notes += [f"{report.name} {'did nothing' if report.outcome == 'nothing' else 'was undone'}: {report.reason}"] if report.reason else []
        run.notes += result.notes
        if result.path is None:
            return []
        card = run.subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, result.path.with_suffix(".toml"))
        smaller = replace(run.subject, path=result.path)
        climb = Climb(run, backend, smaller, recipe.name, is_sparse=result.is_sparse)
        climb.build_exact(start + 2 * share, start + 2.5 * share)
        if recipe.quantizes and climb.built:
            sources = climb.write_sources(data, ranges, start + 2.5 * share, start + 3.5 * share, quantizes=True)
            climb.build_others(sources, start + 3.5 * share, stop)
    return climb.built


def _shrunk(run: Run, recipe: Recipe, data: Dataset | None, work: Path, progress: Progress) -> Shrunk:
    """The recipe applied, in the existing, empty folder `work`, now or in an earlier run."""
    cache = run.workshop.cache
    key = "" if cache is None else _key(run, recipe)
    if cache is not None and (found := cache.take_result(_KIND, key, work, Shrunk)) is not None:
        progress(1.0, "compressed before")
        return found
    repair, threads = run.request.repair, run.request.threads
    result = compress_subject(run.subject, recipe, data, repair=repair, threads=threads, progress=progress, cancel=run.cancel)
    path = work / _NAME if result.changed else None
    if path is not None:
        write_result(result.model, run.subject.path, path, changed=True)
    shrunk = Shrunk(path=path, passes=result.passes, notes=result.notes, is_sparse=result.is_sparse)
    if cache is not None:
        cache.put_result(_KIND, key, work, shrunk)
    return shrunk


def _key(run: Run, recipe: Recipe) -> str:
    """Passes are kept or undone by times and, for sparse kernels, by what backends there are."""
    request, card = run.request, run.subject.path.with_suffix(".toml")
    return key_of(
        digest_of_model(run.subject.path),
        digest_of_tree(card if card.is_file() else None),
        digest_of_tree(None if request.calibration is None else Path(request.calibration)),
        [(step.name, step.options) for step in recipe.steps],
        request.repair,
        place_of(FALLBACK, request.threads),
        [(status.name, status.version, status.device) for status in backend_statuses()],
        digest_of_code(compression_package),
        digest_of_code(calibration_package),
    )
