"""``edgewright calibrate``: FP32 to INT8, FP16, FP8 or INT4, with the fidelity of what was written."""

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
    from ..calibration.calibrate import Calibration, CalibrationOptions
    from ..calibration.written import Written
    from ..core.dataset import Dataset
    from ..core.measurement import Fidelity
    from ..pipeline.subject import Subject

PRECISIONS = ("int8", "fp16", "fp8", "int4")
TARGETS = ("here", "x86_64", "aarch64")
METHODS = ("auto", "percentile", "entropy", "mse", "minmax")


@click.command()
@click.argument("model", type=existing_path)
@calibration_option
@evaluation_option
@out_option
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="What to write.")
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How clip ranges are chosen.")
@click.option("--target", type=click.Choice(TARGETS), default="here", show_default=True, help="The processor that model.int8.onnx is for.")
@click.option("--ranges", type=existing_path, help="Take the ranges from this ranges.json of the same model instead of observing.")
@click.option("--min-sqnr-db", type=float, help="Keep the most sensitive layers in float until the calibration samples show this.")
@click.option("--no-repair", is_flag=True, help="Leave out equalisation, better rounding, gains and biases; for comparison.")
@json_option
def calibrate(
    model: Path,
    calibration: Path | None,
    evaluation: Path | None,
    out: Path,
    precision: str,
    method: str,
    target: str,
    ranges: Path | None,
    min_sqnr_db: float | None,
    no_repair: bool,
    as_json: bool,
) -> None:
    """Quantise MODEL to INT8 with the calibration samples, and measure the written file against FP32.

    --precision fp16 halves it instead, as casts in the graph, for runtimes that take precision from the model alone; fp8 writes Q/DQ in 8-bit
    floats for accelerators that compute in them; int4 writes the weights of matrix products in blocks of 4 bits.
    Without --evaluation the fidelity is measured on the calibration samples themselves, and says so.
    """
    if calibration is None:
        raise click.UsageError("Missing option '--calibration'.")
    from ..pipeline.subject import open_subject

    subject = open_subject(model.resolve())
    data = subject.dataset(calibration.resolve())
    evaluation_set = None if evaluation is None else subject.dataset(evaluation.resolve())
    with new_folder(out) as folder, progress_bar(f"calibrating {model.name}") as progress:
        job = _Job(subject, data, evaluation_set, folder, progress)
        if precision == "int8":
            _quantise(job, _options(method, target, ranges, min_sqnr_db, repair=not no_repair), as_json=as_json)
        else:
            _write(job, precision, method, as_json=as_json)


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


def _options(method: str, target: str, ranges: Path | None, min_sqnr_db: float | None, *, repair: bool) -> CalibrationOptions:
    from ..calibration.calibrate import CalibrationOptions
    from ..calibration.dialects import target_named
    from ..calibration.ranges import method_named
    from ..calibration.table import load_table

    table = None if ranges is None else load_table(ranges)
    return CalibrationOptions(method=method_named(method), repair=repair, target=target_named(target), table=table, min_sqnr_db=min_sqnr_db)


def _quantise(job: _Job, options: CalibrationOptions, *, as_json: bool) -> None:
    from ..calibration.calibrate import calibrate as run
    from ..pipeline.build import peak_rss_mb

    report = lambda share, note: job.progress(share * 0.7, note)
    result = run(job.subject.path, job.data, job.folder, options, progress=report, cancel=lambda: False)
    peak_mb = peak_rss_mb()
    fidelity = job.fidelity(result.onnxruntime)
    if as_json:
        print_json(_answer(result, fidelity, peak_mb))
    else:
        _print(result, fidelity)


def _write(job: _Job, precision: str, method: str, *, as_json: bool) -> None:
    """Every precision but INT8."""
    from ..pipeline.build import peak_rss_mb

    started = time.monotonic()
    result = _written(job, precision, method)
    seconds, peak_mb = time.monotonic() - started, peak_rss_mb()
    # FP8 is for accelerators: the processor's arithmetic of it was proven, its kernels do not take it.
    fidelity = None if precision == "fp8" else job.fidelity(result.path)
    if as_json:
        answer = {
            "precision": precision,
            "images": result.samples,
            "seconds": round(seconds, 3),
            "peak_rss_mb": round(peak_mb, 1),
            "outputs": {precision: str(result.path)},
            "fidelity": fidelity,
            "proven_sqnr_db": result.sqnr_db,
            "changed": result.changed,
            "kept": [{"node": entry.node, "op": entry.op, "reason": entry.reason} for entry in result.kept],
            "warnings": result.warnings,
        }
        print_json(answer)
        return
    click.echo(f"{result.changed} nodes written in {precision.upper()} in {seconds:.1f} s, {number(result.sqnr_db, 'dB', 1)} on calibration samples")
    if fidelity is not None:
        _print_fidelity(fidelity)
    for entry in result.kept:
        click.echo(f"  {entry.node} ({entry.op}) stays in float32: {entry.reason}")
    for warning in result.warnings:
        click.echo(f"  {warning}")
    click.echo(str(result.path))


def _written(job: _Job, precision: str, method: str) -> Written:
    report = lambda share, note: job.progress(share * 0.7, note)
    if precision == "fp16":
        from ..calibration.half import write_half

        return write_half(job.subject.path, job.data, job.folder, progress=report)
    if precision == "int4":
        from ..calibration.int4 import write_int4

        return write_int4(job.subject.path, job.data, job.folder, progress=report)
    from ..calibration.float8 import write_float8
    from ..calibration.ranges import method_named

    return write_float8(job.subject.path, job.data, job.folder, method_named(method), progress=report)


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
