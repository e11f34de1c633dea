"""``edgewright optimize``: the best engine for this device inside a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    CANDIDATE_COLUMNS,
    backend_option,
    batch_option,
    cache_option,
    calibration_option,
    candidate_rows,
    evaluation_option,
    existing_path,
    json_option,
    new_folder,
    number,
    out_option,
    percent,
    print_json,
    print_table,
    progress_bar,
    seconds_option,
    size,
    threads_option,
)

if TYPE_CHECKING:
    from ..core.search import SearchReport
    from ..engines.fingerprint import Compatibility
    from ..pipeline.choose import Goal
    from ..pipeline.request import OptimizeResult


@click.command()
@click.argument("model", type=existing_path)
@calibration_option
@evaluation_option
@out_option
@click.option("--recipe", default="auto", show_default=True, help="auto, none, int8, small, fast, balanced, distilled, or a .toml file.")
@click.option("--budget", "budget_file", type=existing_path, help="TOML file with the limits that a candidate must meet.")
@backend_option
@threads_option
@batch_option
@seconds_option
@click.option("--max-seconds", type=click.FloatRange(1), default=86400.0, show_default=True, help="Longest run that is allowed.")
@click.option("--max-memory-mb", type=click.FloatRange(1), help="Most memory that the run may take; default: not limited.")
@click.option("--reserve-mb", type=click.FloatRange(1), help="End a build when the board has less memory than this available; default: never.")
@click.option(
    "--compatibility", type=click.Choice(["none", "version", "hardware"]), default="none", show_default=True, help="Where else plans may run."
)
@click.option(
    "--search-seconds", type=click.FloatRange(0, 86400), default=0.0, show_default=True, help="What the search of auto may take; 0 = no search."
)
@click.option(
    "--goal", type=click.Choice(["latency", "energy", "size"]), help="What is minimised; default: latency, or energy if only that has a limit."
)
@click.option("--quick", is_flag=True, help="Less than a minute in all: fewer samples, no repair of INT8, one planned network.")
@cache_option
@json_option
def optimize(
    model: Path,
    calibration: Path | None,
    evaluation: Path | None,
    out: Path,
    recipe: str,
    budget_file: Path | None,
    backend: str | None,
    threads: int,
    batch: int,
    seconds: float,
    compatibility: Compatibility,
    max_seconds: float,
    max_memory_mb: float | None,
    reserve_mb: float | None,
    search_seconds: float,
    goal: Goal | None,
    quick: bool,
    no_cache: bool,
    as_json: bool,
) -> int:
    """Calibrate, build and measure MODEL on this device, and choose the fastest engine that meets the budget.

    The work is done in a child process under the given limits; an engine that asks for too much is left out, and the next one tried.

    Exits 1 when no engine meets it; the nearest one and the limits it misses are printed.
    """
    import msgspec

    from ..core.budget import Budget, budget_from_toml
    from ..core.errors import error_from_reason
    from ..pipeline.attempts import run_optimize
    from ..pipeline.child import Limits
    from ..pipeline.request import OptimizeRequest, OptimizeResult
    from ..pipeline.workshop import user_cache

    budget = Budget() if budget_file is None else budget_from_toml(budget_file)
    with new_folder(out) as folder, progress_bar(f"optimizing {model.name}") as progress:
        request = OptimizeRequest(
            model=str(model.resolve()),
            calibration=None if calibration is None else str(calibration.resolve()),
            evaluation=None if evaluation is None else str(evaluation.resolve()),
            out=str(folder),
            recipe=Path(recipe).stem if recipe.endswith(".toml") else recipe,
            recipe_file=str(Path(recipe).resolve()) if recipe.endswith(".toml") else None,
            budget=budget,
            backend=backend,
            threads=threads,
            batch=batch,
            bench_seconds=seconds,
            compatibility=compatibility,
            search_s=search_seconds,
            goal=goal,
            quick=quick,
            cache=None if no_cache else str(user_cache()),
        )
        outcome = run_optimize(request, Limits(max_seconds, max_memory_mb, reserve_mb, nice=0), on_progress=progress)
        if outcome.result is None:
            assert outcome.reason is not None
            raise error_from_reason(outcome.reason)
        result = msgspec.json.decode(outcome.result, type=OptimizeResult)
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    if result.verdict == "rejected":
        for reason in result.reasons:
            click.echo(f"edgewright: rejected: {reason.line()} [{reason.code}]", err=True)
        return 1
    return 0


def _print_result(result: OptimizeResult) -> None:
    """Every candidate, the search if there was one, and what there is to say about them."""
    print_table(CANDIDATE_COLUMNS, candidate_rows(result.candidates, result.chosen if result.verdict == "accepted" else None))
    if result.search is not None:
        _print_search(result.search)
    for note in result.notes:
        click.echo(f"  {note}")
    if result.baseline.energy_reason:
        click.echo(f"  energy: {result.baseline.energy_reason}")
    if result.verdict == "accepted" and result.chosen is not None:
        click.echo(f"accepted: {result.chosen.name}, {result.chosen.path}")


def _print_search(search: SearchReport) -> None:
    """The Pareto front, what each layer of the best plan became, and how far predictions were off."""
    print_table(
        ["network", "latency", "predicted", "lost top-1", "agreement", "energy", "size", "front"],
        [
            [
                point.name,
                number(point.latency_ms, "ms", 3),
                "–" if point.prediction_error is None else f"{100 * point.prediction_error:+.1f} %",
                percent(point.top1_drop),
                percent(point.agreement),
                number(point.energy_mj, "mJ"),
                size(point.size_bytes),
                ("yes" if point.is_on_front else "") + ("" if point.is_allowed else " (loses too much)"),
            ]
            for point in search.points
        ],
    )
    for layer in search.layers:
        times = f"{1000 * layer.ms_before:.0f} → {1000 * layer.ms_after:.0f} µs"
        click.echo(f"  {layer.layer}: {layer.became}, {times} alone, damage {layer.damage:.2g}")
    words = f"  {search.plans:.3g} plans; {search.measured} ways to write a layer were timed, {search.known} were known; {search.seconds:.0f} s"
    click.echo(words if search.plot is None else f"{words}; plot: {search.plot}")
