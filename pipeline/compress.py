"""The compression stage: a recipe applied to the model, what it came to measured through the runner like every other engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..compression.codec.container import SUFFIX, serialized, write_coded
from ..compression.recipe import Recipe
from ..compression.runner import Compressed, PassReport, Settings, compress
from ..compression.timing import RuntimeStopwatch
from ..core.dataset import Dataset
from ..core.errors import Rejected
from ..core.files import write_atomic
from ..core.measurement import Fidelity, Latency
from ..engines.ort.runner import open_on_cpu
from ..profiling.latency import measure_interleaved
from .build import build_options, unfinished
from .logits import with_logits
from .measure import EngineUnderTest, Timing, first_feeds, measure_fidelity, measure_timing, zeros_for
from .sparse_race import race_sparse
from .subject import Subject, batch_for

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
ORIGINAL, COMPRESSED = "original", "compressed"
_RACE_S = 0.5


@dataclass(frozen=True, slots=True)
class CompressResult:
    """What was written to `path`, and what it costs beside the original. `timings` and `fidelity` are measured on the files."""

    path: Path
    passes: tuple[PassReport, ...]
    fidelity: Fidelity | None
    timings: dict[str, Timing]
    notes: tuple[str, ...]
    changed: bool
    written_bytes: int
    seconds: float


def compress_subject(
    subject: Subject, recipe: Recipe, data: Dataset | None, *, repair: bool, threads: int, progress: Progress, cancel: Cancel
) -> Compressed:
    """Apply `recipe`; passes that are for time are timed in turns with what was before."""
    settings = Settings(
        repair=repair,
        stopwatch=RuntimeStopwatch(threads),
        race=lambda before, after: race(before, after, threads, cancel),
        sparse_race=lambda before, after: race_sparse(subject, before, after, threads, cancel),
    )
    is_classifier = subject.classified is not None
    return compress(subject.path, recipe, data, settings, is_classifier=is_classifier, progress=progress, cancel=cancel)


def race(before: Any, after: Any, threads: int, cancel: Cancel) -> tuple[Latency, Latency]:
    """Latency of two models in memory, in turns."""
    with (
        open_on_cpu(serialized(before), "the model", threads=threads) as first,
        open_on_cpu(serialized(after), "the compressed model", threads=threads) as second,
    ):
        feeds = zeros_for(first.inputs, batch_for(first.inputs, 1))
        calls = {"before": lambda: first.infer(feeds), "after": lambda: second.infer(feeds)}
        timed = measure_interleaved(calls, seconds=_RACE_S, cancel=cancel)
    return timed["before"], timed["after"]


def write_result(model: Any, original: Path, target: Path, *, changed: bool) -> int:
    """Write `model` to `target` (``.onnx`` or ``.ewz``), or the original itself when nothing was changed. Returns its size.

    Raises:
        Rejected: ``out-suffix``.
    """
    if target.suffix not in {".onnx", SUFFIX}:
        raise Rejected("out-suffix", f"{target.name} ends neither in .onnx nor in {SUFFIX}", "Name the file that shall be written so")
    if target.suffix == ".onnx":
        write_atomic(target, serialized(model) if changed else original.read_bytes())
        return target.stat().st_size
    with unfinished(target.parent, "compressed") as work:
        plain = work / "model.onnx"
        plain.write_bytes(serialized(model) if changed else original.read_bytes())
        return write_coded(plain, target)


def run_compression(
    subject: Subject,
    recipe: Recipe,
    calibration: Dataset | None,
    evaluation: Dataset | None,
    target: Path,
    *,
    repair: bool,
    threads: int,
    seconds: float,
    progress: Progress,
    cancel: Cancel,
) -> CompressResult:
    """Compress `subject` into `target`, and measure what was written beside the original."""
    started = time.monotonic()
    result = compress_subject(
        subject, recipe, calibration, repair=repair, threads=threads, progress=lambda share, note: progress(0.7 * share, note), cancel=cancel
    )
    written = write_result(result.model, subject.path, target, changed=result.changed)
    data = evaluation or calibration
    measured_on: Literal["evaluation", "calibration"] = "evaluation" if evaluation is not None else "calibration"
    options = build_options(subject, precision="fp32", threads=threads, batch=1)
    with unfinished(target.parent, "measure") as work:
        plain = work / "compressed.onnx"
        plain.write_bytes(serialized(result.model))
        engines = {
            ORIGINAL: EngineUnderTest("onnxruntime", subject.path, options),
            COMPRESSED: EngineUnderTest("onnxruntime", plain, options),
        }
        fidelity = None
        if data is not None:
            with with_logits(subject, engines, work) as seen:
                part = _part(progress, 0.7, 0.9)
                fidelity = measure_fidelity(subject, ORIGINAL, seen, data, measured_on, progress=part, cancel=cancel)[COMPRESSED]
        progress(0.9, "measuring latency and energy")
        batch = batch_for(subject.inputs, 1)
        feeds = None if data is None else first_feeds(data, batch)
        timings = measure_timing(engines, dict.fromkeys(engines, feeds), seconds=seconds, batch=batch, cancel=cancel)
    progress(1.0, "compressed")
    return CompressResult(target, result.passes, fidelity, timings, result.notes, result.changed, written, time.monotonic() - started)


def _part(progress: Progress, start: float, stop: float) -> Progress:
    return lambda share, note: progress(start + (stop - start) * share, note)
