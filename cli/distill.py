"""``edgewright distill``: a small student learns from a teacher, and leaves as ONNX, measured beside it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    evaluation_option,
    existing_path,
    json_option,
    number,
    percent,
    prepare_out,
    print_json,
    print_table,
    progress_bar,
    seconds_option,
    size,
    threads_option,
)

if TYPE_CHECKING:
    from ..distillation.request import Quantize
    from ..pipeline.distilling import DistillResult

INTERRUPTED = 130


@click.command()
@click.argument("teacher", type=existing_path)
@click.option("--data", "--calibration", "data", type=existing_path, required=True, help="Samples to learn from: images, .npz or a folder of .npy.")
@evaluation_option
@click.option("--out", type=existing_path, required=True, help="The folder for the student, its card, curves, report and checkpoint.")
@click.option(
    "--student", default="auto", show_default=True, help="auto, or stages as BLOCK:WIDTHxDEPTH/STRIDE, for instance plain:16/2,separable:32x2/2."
)
@click.option("--labels", type=existing_path, help="An .npy of integers, one per sample; default: the labels of the data, if any.")
@click.option("--output", help="The teacher's output to learn; default: the card's, or the only one.")
@click.option("--losses", help="NAME=WEIGHT,…; default: what suits the teacher and the data. docs/distillation.md lists them.")
@click.option("--forward-only", is_flag=True, help="In closed form, without PyTorch; needs a named student.")
@click.option("--epochs", type=click.IntRange(1, 100_000), default=60, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.01, 100_000), help="End in this time; the rate falls accordingly.")
@click.option("--batch", type=click.IntRange(4, 4096), default=32, show_default=True, help="Samples per step.")
@click.option("--rate", type=click.FloatRange(1e-6, 1.0), default=3e-3, show_default=True, help="The highest learning rate.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Equal seeds, equal students.")
@click.option(
    "--quantize", type=click.Choice(["none", "onnxruntime", "tensorrt"]), default="none", show_default=True, help="Finish with fake quantisation."
)
@click.option("--max-latency-ms", type=click.FloatRange(min=0, min_open=True), help="Limit on students that auto tries, batch 1 on this device.")
@click.option("--max-size-kb", type=click.FloatRange(min=0, min_open=True), help="Limit on their weights.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@threads_option
@seconds_option
@json_option
def distill(
    teacher: Path,
    data: Path,
    evaluation: Path | None,
    out: Path,
    student: str,
    labels: Path | None,
    output: str | None,
    losses: str | None,
    forward_only: bool,
    epochs: int,
    minutes: float | None,
    batch: int,
    rate: float,
    seed: int,
    quantize: Quantize,
    max_latency_ms: float | None,
    max_size_kb: float | None,
    resume: bool,
    threads: int,
    seconds: float,
    as_json: bool,
) -> int:
    """Teach a student of TEACHER's (an ONNX model, any task) what TEACHER does, from samples with labels or without.

    Ctrl-C keeps everything: the student as it is, and a checkpoint that --resume goes on from. Needs PyTorch (pip install 'edgewright[distill]'),
    but for --forward-only.
    """
    from ..distillation.request import DistillOptions
    from ..pipeline.distilling import run_distillation
    from ..pipeline.workshop import user_cache

    options = DistillOptions(
        student=student,
        output=output,
        losses=losses,
        labels=labels,
        epochs=epochs,
        batch=batch,
        rate=rate,
        seed=seed,
        minutes=minutes,
        threads=threads,
        quantize=quantize,
        is_forward_only=forward_only,
        max_latency_ms=max_latency_ms,
        max_size_bytes=None if max_size_kb is None else int(1000 * max_size_kb),
    )
    folder = out.resolve() if resume else prepare_out(out)
    with progress_bar(f"distilling {teacher.name}") as progress, _asked_to_stop() as stop:
        result = run_distillation(
            teacher.resolve(),
            data.resolve(),
            evaluation,
            folder,
            options,
            resumes=resume,
            seconds=seconds,
            cache=user_cache(),
            progress=progress,
            stop=stop,
        )
    if as_json:
        print_json(result)
    else:
        _print(result)
    return INTERRUPTED if result.ending == "stopped" else 0


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into an answer to `stop`; the second one interrupts at once."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(result: DistillResult) -> None:
    if result.searched:
        click.echo("students that competed, the winner first:")
        print_table(
            ["student", "held out", "ms", "MACs", "round"],
            [
                [entry.spec, f"{entry.score:.3f}", number(entry.ms, digits=3), f"{entry.macs / 1e6:.2f} M", str(entry.round)]
                for entry in result.searched
            ],
        )
    rows = []
    for name, side in (("teacher", result.teacher), ("student", result.student)):
        energy = "–" if side.energy_mj is None else number(side.energy_mj.mean, "mJ")
        rows.append(
            [name, f"{side.macs / 1e6:.2f} M", f"{side.params / 1e3:.1f} k", size(side.size_bytes), number(side.latency_ms.p50, "ms", 3), energy]
        )
    print_table(["", "MACs", "parameters", "file", "latency (median)", "energy"], rows)
    fidelity = result.fidelity
    click.echo(
        f"top-1 {percent(fidelity.top1_fp32)} → {percent(fidelity.top1)}, agreement {percent(fidelity.agreement)}, "
        f"SQNR {number(fidelity.sqnr_db, 'dB', 1)} on {fidelity.samples} {fidelity.measured_on} samples"
    )
    for note in result.notes:
        click.echo(f"  {note}")
    how = f"{result.spec}, learned by {', '.join(result.losses)}" if result.losses else f"{result.spec}, in closed form"
    click.echo(f"{result.path}: {how}")
    if result.ending != "finished":
        word = "stopped" if result.ending == "stopped" else "out of time"
        click.echo(f"{word} before the last epoch: the same command with --resume goes on")
