"""``edgewright calibrate``: FP32 to INT8 or FP16, with the fidelity of what was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .output import (
    calibration_option,
    evaluation_option,
    existing_path,
    json_option,
    new_folder,
    number,
    out_option,
    percent,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from ..calibration.calibrate import Calibration
    from ..core.dataset import Dataset
    from ..core.measurement import Fidelity
    from ..pipeline.subject import Subject

PRECISIONS = ("int8", "fp16")
METHODS = ("auto", "percentile", "entropy", "mse", "minmax")


@click.command()
@click.argument("model", type=existing_path)
@calibration_option
@evaluation_option
@out_option
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="What to write.")
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How clip ranges are chosen.")
@click.option("--no-repair", is_flag=True, help="Leave out equalisation, better rounding, gains and biases; for comparison.")
@json_option
def calibrate(
    model: Path, calibration: Path | None, evaluation: Path | None, out: Path, precision: str, method: str, no_repair: bool, as_json: bool
) -> None:
    """Quantise MODEL to INT8 with the calibration samples, and measure the written file against FP32.

    With --precision fp16 halve it instead: casts in the graph, for runtimes that take precision from the model alone.
    Without --evaluation the fidelity is measured on the calibration samples themselves, and says so.
    """
    if calibration is None:
        raise click.UsageError("Missing option '--calibration'.")
    from ..pipeline.subject import open_subject

    subject = open_subject(model.resolve())
    data = subject.dataset(calibration.resolve())
    evaluation_set = None if evaluation is None else subject.dataset(evaluation.resolve())
    with new_folder(out) as folder, progress_bar(f"calibrating {model.name}") as progress:
        if precision == "fp16":
            _halve(_Job(subject, data, evaluation_set, folder, progress), as_json=as_json)
        else:
            _quantise(_Job(subject, data, evaluation_set, folder, progress), method, repair=not no_repair, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Job:
    """What every precision starts from."""

    subject: Subject
    data: Dataset
    evaluation: Dataset | None
    folder: Path
    progress: Callable[[float, str], None]

    def fidelity(self, written: Path) -> Fidelity:
        """Of the file `written`, on the processor."""
        from ..engines.base import BuildOptions
        from ..pipeline.logits import with_logits
        from ..pipeline.measure import EngineUnderTest, measure_fidelity

        under_test = {
            name: EngineUnderTest("onnxruntime", path, BuildOptions()) for name, path in (("fp32", self.subject.path), ("written", written))
        }
        measured_on: Literal["evaluation", "calibration"] = "calibration" if self.evaluation is None else "evaluation"
        with with_logits(self.subject, under_test, self.folder) as engines:
            return measure_fidelity(
                self.subject,
                "fp32",
                engines,
                self.evaluation or self.data,
                measured_on,
                progress=lambda share, note: self.progress(0.7 + 0.3 * share, note),
                cancel=lambda: False,
            )["written"]


def _quantise(job: _Job, method: str, *, repair: bool, as_json: bool) -> None:
    from ..pipeline.build import peak_rss_mb
    from ..pipeline.calibrating import run_calibration
    from ..pipeline.request import OptimizeRequest

    path = str(job.subject.path)
    request = OptimizeRequest(model=path, calibration=None, evaluation=None, out=str(job.folder), method=method, repair=repair)
    result = run_calibration(request, job.subject, job.data, job.folder, lambda share, note: job.progress(share * 0.7, note), lambda: False)
    peak_mb = peak_rss_mb()
    fidelity = job.fidelity(result.onnxruntime)
    if as_json:
        print_json(_answer(result, fidelity, peak_mb))
    else:
        _print(result, fidelity)


def _halve(job: _Job, *, as_json: bool) -> None:
    from ..calibration.half import write_half
    from ..pipeline.build import peak_rss_mb

    started = time.monotonic()
    result = write_half(job.subject.path, job.data, job.folder, progress=lambda share, note: job.progress(share * 0.7, note))
    seconds, peak_mb = time.monotonic() - started, peak_rss_mb()
    fidelity = job.fidelity(result.path)
    if as_json:
        answer = {
            "precision": "fp16",
            "images": result.samples,
            "seconds": round(seconds, 3),
            "peak_rss_mb": round(peak_mb, 1),
            "outputs": {"fp16": str(result.path)},
            "fidelity": fidelity,
            "halved": result.halved,
            "kept": [{"node": entry.node, "op": entry.op, "reason": entry.reason} for entry in result.kept],
            "warnings": result.warnings,
        }
        print_json(answer)
        return
    click.echo(f"{result.halved} nodes halved from {result.samples} samples in {seconds:.1f} s")
    _print_fidelity(fidelity)
    for entry in result.kept:
        click.echo(f"  {entry.node} ({entry.op}) stays in float32: {entry.reason}")
    for warning in result.warnings:
        click.echo(f"  {warning}")
    click.echo(str(result.path))


def _answer(result: Calibration, fidelity: Fidelity, peak_mb: float) -> dict[str, object]:
    return {
        "precision": "int8",
        "method": result.method,
        "images": result.images,
        "seconds": round(result.seconds, 3),
        "phases": {name: round(value, 3) for name, value in asdict(result.phases).items()},
        "peak_rss_mb": round(peak_mb, 1),
        "outputs": {
            "onnxruntime": str(result.onnxruntime),
            "tensorrt": str(result.tensorrt),
            "tensorrt_cache": str(result.tensorrt_cache),
            "ranges": str(result.table),
        },
        "fidelity": fidelity,
        "quantized": result.quantized,
        "skipped": [{"node": entry.node, "op": entry.op, "reason": entry.reason} for entry in result.skipped],
        "warnings": result.warnings,
    }


def _print(result: Calibration, fidelity: Fidelity) -> None:
    click.echo(f"{result.quantized} layers quantised from {result.images} samples in {result.seconds:.1f} s ({result.method})")
    _print_fidelity(fidelity)
    for entry in result.skipped:
        click.echo(f"  {entry.node} ({entry.op}) stays in float: {entry.reason}")
    for warning in result.warnings:
        click.echo(f"  {warning}")
    click.echo(str(result.onnxruntime))


def _print_fidelity(fidelity: Fidelity) -> None:
    click.echo(
        f"top-1 {percent(fidelity.top1_fp32)} → {percent(fidelity.top1)}, agreement {percent(fidelity.agreement)}, "
        f"SQNR {number(fidelity.sqnr_db, 'dB', 1)} on {fidelity.samples} {fidelity.measured_on} samples"
    )
