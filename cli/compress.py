"""``edgewright compress``: a smaller or faster model by a recipe, with an account of what each pass cost and gained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    calibration_option,
    evaluation_option,
    existing_path,
    json_option,
    number,
    percent,
    print_json,
    print_table,
    progress_bar,
    seconds_option,
    size,
    threads_option,
)

if TYPE_CHECKING:
    from ..compression.account import Cost
    from ..compression.runner import PassReport
    from ..pipeline.compress import CompressResult


@click.command()
@click.argument("model", type=existing_path)
@calibration_option
@evaluation_option
@click.option("--out", type=existing_path, required=True, help="The file to write: .onnx to run, .ewz to store and send.")
@click.option("--recipe", default="balanced", show_default=True, help="none, int8, small, fast, balanced, distilled, or a .toml file.")
@click.option("--no-repair", is_flag=True, help="Leave out the least-squares repair; for comparison.")
@threads_option
@seconds_option
@json_option
def compress(
    model: Path,
    calibration: Path | None,
    evaluation: Path | None,
    out: Path,
    recipe: str,
    no_repair: bool,
    threads: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Apply a recipe to MODEL and measure what comes out against it, on this machine.

    A pass that gains nothing here is undone and says so. MODEL itself is never changed. INT8 is made by calibrate and optimize.
    """
    from ..compression.recipe import load_recipe
    from ..compression.runner import check_steps
    from ..core.errors import Rejected
    from ..pipeline.compress import run_compression
    from ..pipeline.subject import open_subject

    chosen = load_recipe(recipe)
    target = out.resolve()
    subject = open_subject(model.resolve())
    if target.exists():
        raise Rejected("out-exists", f"{out} exists", "Give --out a new file name: nothing is overwritten")
    if not target.parent.is_dir():
        raise Rejected("out-not-folder", f"there is no folder {target.parent}", "Make it first")
    data = None if calibration is None else subject.dataset(calibration.resolve())
    evaluation_set = None if evaluation is None else subject.dataset(evaluation.resolve())
    check_steps(chosen, data)
    with progress_bar(f"compressing {model.name}") as progress:
        result = run_compression(
            subject,
            chosen,
            data,
            evaluation_set,
            target,
            repair=not no_repair,
            threads=threads,
            seconds=seconds,
            progress=progress,
            cancel=lambda: False,
        )
    notes = list(result.notes)
    if chosen.quantizes:
        notes.append("the recipe asks for INT8: edgewright calibrate or optimize makes it from this file")
    if chosen.distill is not None:
        notes.append("the recipe asks for a student: edgewright distill or optimize teaches one")
    if as_json:
        print_json(_as_json(result, notes))
    else:
        _print(result, notes)


def _as_json(result: CompressResult, notes: list[str]) -> dict[str, object]:
    return {
        "path": str(result.path),
        "changed": result.changed,
        "written_bytes": result.written_bytes,
        "passes": result.passes,
        "fidelity": result.fidelity,
        "original": _timing(result, "original"),
        "compressed": _timing(result, "compressed"),
        "seconds": round(result.seconds, 3),
        "notes": notes,
    }


def _timing(result: CompressResult, name: str) -> dict[str, object]:
    timing = result.timings[name]
    return {
        "latency_ms": timing.latency_ms,
        "energy_mj": timing.energy_mj,
        "energy_reason": timing.energy_reason,
        "conditions": timing.conditions,
    }


def _print(result: CompressResult, notes: list[str]) -> None:
    rows = [_row(entry) for entry in result.passes]
    print_table(["pass", "MACs", "parameters", "flash", "wire", "time", "unrepaired", "agreement"], [*rows, _total(result)] if rows else rows)
    for entry in result.passes:
        if entry.reason:
            click.echo(f"  {entry.name} {'did nothing' if entry.outcome == 'nothing' else 'was undone'}: {entry.reason}")
        for note in entry.notes if entry.outcome != "nothing" else ():
            click.echo(f"  {entry.name}: {note}")
    for note in notes:
        click.echo(f"  {note}")
    before, after = (result.timings[name].latency_ms for name in ("original", "compressed"))
    click.echo(f"latency {number(before.p50, 'ms', 3)} → {number(after.p50, 'ms', 3)} (median, in turns)")
    energies = [result.timings[name] for name in ("original", "compressed")]
    if energies[0].energy_mj is not None and energies[1].energy_mj is not None:
        click.echo(f"energy {number(energies[0].energy_mj.mean, 'mJ')} → {number(energies[1].energy_mj.mean, 'mJ')} per inference")
    else:
        click.echo(f"energy: {energies[0].energy_reason}")
    fidelity = result.fidelity
    if fidelity is not None:
        click.echo(
            f"top-1 {percent(fidelity.top1_fp32)} → {percent(fidelity.top1)}, agreement {percent(fidelity.agreement)}, "
            f"SQNR {number(fidelity.sqnr_db, 'dB', 1)} on {fidelity.samples} {fidelity.measured_on} samples"
        )
    what = "" if result.changed else " (the model as it was: no pass gained anything)"
    click.echo(f"{result.path}, {size(result.written_bytes)}{what}")


def _total(result: CompressResult) -> list[str]:
    """What all passes that were kept come to, from the original to what was written; the time is that of the two files."""
    kept = [entry for entry in result.passes if entry.outcome == "kept"]
    first = result.passes[0].before
    last = kept[-1].after if kept else first
    before, after = (result.timings[name].latency_ms.mean for name in ("original", "compressed"))
    agreement = None if result.fidelity is None else result.fidelity.agreement
    return ["in total", *_cost(first, last), f"{after / before:.2f} ×", percent(None), percent(agreement)]


def _cost(before: Cost, after: Cost) -> list[str]:
    return [
        f"{after.macs / before.macs:.2f} ×" if before.macs else "–",
        f"{after.params / before.params:.2f} ×" if before.params else "–",
        size(after.file_bytes),
        size(after.wire_bytes),
    ]


def _row(entry: PassReport) -> list[str]:
    mark = {"kept": "", "undone": " (undone)", "nothing": " (nothing to do)"}[entry.outcome]
    times = "–"
    if entry.latency_before_ms is not None and entry.latency_after_ms is not None:
        times = f"{entry.latency_after_ms / entry.latency_before_ms:.2f} ×"
    return [
        entry.name + mark,
        *_cost(entry.before, entry.after),
        times,
        percent(entry.agreement_unrepaired),
        percent(entry.agreement),
    ]
