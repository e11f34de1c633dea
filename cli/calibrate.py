"""``edgewright calibrate``: FP32 to INT8, with the fidelity of what was written."""

from __future__ import annotations

from dataclasses import asdict
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
    from ..core.measurement import Fidelity

METHODS = ("auto", "percentile", "entropy", "mse", "minmax")


@click.command()
@click.argument("model", type=existing_path)
@calibration_option
@evaluation_option
@out_option
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How clip ranges are chosen.")
@click.option("--no-repair", is_flag=True, help="Leave out equalisation, better rounding, gains and biases; for comparison.")
@json_option
def calibrate(model: Path, calibration: Path | None, evaluation: Path | None, out: Path, method: str, no_repair: bool, as_json: bool) -> None:
    """Quantise MODEL to INT8 with the calibration samples, and measure the written file against FP32.

    Without --evaluation the fidelity is measured on the calibration samples themselves, and says so.
    """
    if calibration is None:
        raise click.UsageError("Missing option '--calibration'.")
    from ..engines.base import BuildOptions
    from ..pipeline.build import peak_rss_mb
    from ..pipeline.calibrating import run_calibration
    from ..pipeline.logits import with_logits
    from ..pipeline.measure import EngineUnderTest, measure_fidelity
    from ..pipeline.request import OptimizeRequest
    from ..pipeline.subject import open_subject

    subject = open_subject(model.resolve())
    data = subject.dataset(calibration.resolve())
    evaluation_set = data if evaluation is None else subject.dataset(evaluation.resolve())
    measured_on: Literal["evaluation", "calibration"] = "calibration" if evaluation is None else "evaluation"
    with new_folder(out) as folder, progress_bar(f"calibrating {model.name}") as progress:
        request = OptimizeRequest(model=str(subject.path), calibration=None, evaluation=None, out=str(folder), method=method, repair=not no_repair)
        result = run_calibration(request, subject, data, folder, lambda share, note: progress(share * 0.7, note), lambda: False)
        peak_mb = peak_rss_mb()
        files = {"fp32": subject.path, "int8": result.onnxruntime}
        with with_logits(subject, {name: EngineUnderTest("onnxruntime", path, BuildOptions()) for name, path in files.items()}, folder) as engines:
            fidelity = measure_fidelity(
                subject,
                "fp32",
                engines,
                evaluation_set,
                measured_on,
                progress=lambda share, note: progress(0.7 + 0.3 * share, note),
                cancel=lambda: False,
            )["int8"]
    if as_json:
        print_json(_answer(result, fidelity, peak_mb))
    else:
        _print(result, fidelity)


def _answer(result: Calibration, fidelity: Fidelity, peak_mb: float) -> dict[str, object]:
    return {
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
    click.echo(
        f"top-1 {percent(fidelity.top1_fp32)} → {percent(fidelity.top1)}, agreement {percent(fidelity.agreement)}, "
        f"SQNR {number(fidelity.sqnr_db, 'dB', 1)} on {fidelity.samples} {fidelity.measured_on} samples"
    )
    for entry in result.skipped:
        click.echo(f"  {entry.node} ({entry.op}) stays in float: {entry.reason}")
    for warning in result.warnings:
        click.echo(f"  {warning}")
    click.echo(str(result.onnxruntime))
