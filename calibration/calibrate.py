"""Calibrates one model: normalise, plan, observe, choose ranges, write the Q/DQ models.

The original file is never touched; what is written appears whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.card import ModelCard
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.errors import Rejected
from ..core.files import write_atomic
from .bias import channel_axes, corrected_weights
from .collect import Observed, Watch, observe
from .dialects import onnxruntime_dialect
from .graph import Graph
from .normalize import normalized_model
from .plan import Plan, Skipped, plan_for_onnxruntime
from .ranges import METHODS, NEEDS_HISTOGRAM
from .table import Range, RangeTable
from .writer import QdqWriter

MethodName = Literal["auto", "percentile", "entropy", "mse", "minmax"]
Progress = Callable[[float, str], None]
TABLE_NAME = "ranges.json"
MODEL_NAME = "model.int8.onnx"


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How to calibrate. `repair` corrects biases; `threads` 0 = all cores; `batch` is used where the model leaves it free."""

    method: MethodName = "auto"
    repair: bool = True
    threads: int = 0
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was written and what it rests on. `seconds` is the whole call."""

    onnxruntime: Path
    tensorrt: Path | None
    tensorrt_cache: Path | None
    table: Path
    method: str
    images: int
    seconds: float
    quantized: int
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


def calibrate(
    model: Path,
    dataset: Dataset,
    card: ModelCard,
    out: Path,
    options: CalibrationOptions,
    *,
    progress: Progress,
    cancel: Callable[[], bool],
) -> Calibration:
    """Calibrate `model` on all of `dataset` and write range table and Q/DQ model into the existing folder `out`.

    Raises:
        Rejected: ``nothing-to-quantise``, ``activation-not-finite``, or what is wrong with the model or the data.
        Unfit: ``cancelled``.
    """
    started = time.monotonic()
    del card
    method = "percentile" if options.method == "auto" else options.method
    if method not in METHODS:
        raise Rejected("method-unknown", f"there is no calibration method {method!r}", f"Use one of: auto, {', '.join(METHODS)}")
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(normalized.model)
    plan = plan_for_onnxruntime(graph)
    if not plan.layers:
        reasons = "; ".join(sorted({entry.reason for entry in plan.skipped})) or "it has no Conv, Gemm or MatMul"
        raise Rejected("nothing-to-quantise", f"no layer of {model.name} can be quantised: {reasons}", "Deploy it with recipe = none")
    observed = observe(
        normalized.model,
        Watch(plan.observed, method in NEEDS_HISTOGRAM, channel_axes(plan) if options.repair else {}),
        dataset,
        threads=options.threads,
        batch=options.batch,
        progress=lambda share: progress(0.05 + 0.85 * share, f"observed {int(share * dataset.samples)} of {dataset.samples} samples"),
        cancel=cancel,
    )
    table = _table(digest_of_file(model), plan, observed, method)
    progress(0.92, "writing the INT8 model")
    writer = QdqWriter(graph, plan, table, onnxruntime_dialect())
    writer.weights.update(corrected_weights(writer, observed.means))
    write_atomic(out / MODEL_NAME, writer.write().SerializeToString())
    table.save(out / TABLE_NAME)
    progress(1.0, "calibrated")
    return Calibration(
        onnxruntime=out / MODEL_NAME,
        tensorrt=None,
        tensorrt_cache=None,
        table=out / TABLE_NAME,
        method=method,
        images=observed.samples,
        seconds=time.monotonic() - started,
        quantized=len(plan.layers),
        skipped=plan.skipped,
        warnings=(*normalized.notes, *_warnings(observed)),
    )


def _table(model_digest: str, plan: Plan, observed: Observed, method: str) -> RangeTable:
    choose = METHODS[method]
    ranges = {}
    for tensor in plan.observed:
        low, high = choose(observed.extremes[tensor], observed.histograms.get(tensor))
        ranges[tensor] = Range(low, high, method, observed.samples)
    return RangeTable(model=model_digest, ranges=ranges)


def _warnings(observed: Observed) -> list[str]:
    """What a person should know about the ranges."""
    found: list[str] = []
    if observed.samples < 32:
        found.append(f"only {observed.samples} samples: ranges may be too narrow; a few hundred calibrate well")
    constant = [name for name, seen in observed.extremes.items() if seen.low >= seen.high]
    if constant:
        found.append(f"{len(constant)} tensors never changed, {constant[0]!r} among them: the samples or the model may be degenerate")
    return found
