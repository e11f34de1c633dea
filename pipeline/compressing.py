"""The candidates of a recipe with structural passes: the compressed model's own ladder of engines, beside the original's."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ..compression.recipe import Recipe
from ..core.dataset import Dataset
from .build import Built, unfinished
from .climb import Climb
from .compress import compress_subject, write_result
from .run import Run


def build_compressed(run: Run, recipe: Recipe, backend: str, data: Dataset | None, start: float, stop: float) -> list[Built]:
    """Engines of the compressed model, in float and, where the recipe quantises, in INT8; nothing, with notes, when no pass gained anything."""
    share = (stop - start) / 4
    progress = run.part(start, start + 2 * share)
    repair, threads = run.request.repair, run.request.threads
    result = run.attempt(
        "compression",
        lambda: compress_subject(run.subject, recipe, data, repair=repair, threads=threads, progress=progress, cancel=run.cancel),
    )
    if result is None:
        return []
    for report in result.passes:
        run.notes += [f"{report.name} {'did nothing' if report.outcome == 'nothing' else 'was undone'}: {report.reason}"] if report.reason else []
    run.notes += result.notes
    if not result.changed:
        return []
    with unfinished(run.out, "compressed") as work, unfinished(run.out, "compressed-calibration") as ranges:
        target = work / "model.onnx"
        write_result(result.model, run.subject.path, target, changed=True)
        card = run.subject.path.with_suffix(".toml")
        if card.is_file():
            shutil.copyfile(card, target.with_suffix(".toml"))
        smaller = replace(run.subject, path=target)
        climb = Climb(run, backend, smaller, recipe.name, is_sparse=result.is_sparse)
        climb.build_exact(start + 2 * share, start + 2.5 * share)
        if recipe.quantizes and climb.built:
            sources = climb.write_sources(data, ranges, start + 2.5 * share, start + 3.5 * share, quantizes=True)
            climb.build_others(sources, start + 3.5 * share, stop)
    return climb.built
