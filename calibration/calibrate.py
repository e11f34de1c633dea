"""Calibrates one model: normalise, plan, observe, choose ranges, write the Q/DQ models.

The original file is never touched; what is written appears whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.card import ModelCard
from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.errors import Rejected
from ..core.files import write_atomic
from ..engines.base import Tensors
from ..engines.feeds import cast_feeds, filled_feeds, fixed_batch
from ..engines.model import input_specs
from .collect import Observed, Watch, observe
from .dialects import onnxruntime_dialect
from .graph import Graph
from .keep import KeptSamples
from .memory import give_memory_back
from .normalize import normalized_model
from .placement import float_ends
from .plan import Plan, Skipped, plan_for_onnxruntime
from .ranges import METHODS, NEEDS_HISTOGRAM, MethodName
from .repair import Repair, RepairOptions
from .table import Range, RangeTable
from .writer import QdqWriter, WeightCodes

Progress = Callable[[float, str], None]
TABLE_NAME = "ranges.json"
MODEL_NAME = "model.int8.onnx"
KEPT_BYTES = 80 << 20
MAX_KEPT, MIN_KEPT = 256, 32


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How to calibrate. `threads` 0 = all cores; `batch` is used where the model leaves it free."""

    method: MethodName = "auto"
    repair: bool = True
    threads: int = 0
    batch: int = 1
    repairs: RepairOptions = field(default_factory=RepairOptions)


@dataclass(frozen=True, slots=True)
class Phases:
    """How long each part took: reading the model, observing, repairing, writing and verifying."""

    read_s: float
    observe_s: float
    repair_s: float
    write_s: float


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
    phases: Phases
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
    method = options.method
    if method not in METHODS:
        raise Rejected("method-unknown", f"there is no calibration method {method!r}", f"Use one of: {', '.join(METHODS)}")
    give_memory_back()
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(normalized.model)
    plan = plan_for_onnxruntime(graph)
    if not plan.layers:
        reasons = "; ".join(sorted({entry.reason for entry in plan.skipped})) or "it has no Conv, Gemm or MatMul"
        raise Rejected("nothing-to-quantise", f"no layer of {model.name} can be quantised: {reasons}", "Deploy it with recipe = none")
    dialect = onnxruntime_dialect()
    feeds = _first_feeds(graph, dataset)
    if options.repair and options.repairs.ends:
        plan = plan_for_onnxruntime(graph, float_ends(graph, plan, dialect, feeds))
    with KeptSamples(out, kept_samples(feeds)) as kept:
        read = time.monotonic()
        watch = Watch(plan.observed, method in NEEDS_HISTOGRAM, method == "auto", options.threads, options.batch)
        observed = observe(
            normalized.model,
            watch,
            dataset,
            kept,
            progress=lambda share: progress(0.02 + 0.4 * share, f"observed {int(share * dataset.samples)} of {dataset.samples} samples"),
            cancel=cancel,
        )
        table = table_of(digest_of_file(model), plan, observed, method)
        seen = time.monotonic()
        weights: dict[str, WeightCodes] = {}
        notes: tuple[str, ...] = ()
        if options.repair:
            repair = Repair(
                graph,
                plan,
                table,
                dialect,
                kept,
                out,
                options.repairs,
                lambda share: progress(0.42 + 0.5 * share, "repairing the INT8 model"),
                cancel,
            )
            repaired = repair.run(method)
            graph, table, weights, notes = repaired.graph, repaired.table, repaired.weights, repaired.notes
    fixed = time.monotonic()
    progress(0.92, "writing the INT8 model")
    written = QdqWriter(graph, plan, table, dialect, weights).write()
    write_atomic(out / MODEL_NAME, written.SerializeToString())
    table.save(out / TABLE_NAME)
    progress(1.0, "calibrated")
    done = time.monotonic()
    return Calibration(
        onnxruntime=out / MODEL_NAME,
        tensorrt=None,
        tensorrt_cache=None,
        table=out / TABLE_NAME,
        method=method,
        images=observed.samples,
        seconds=done - started,
        phases=Phases(read - started, seen - read, fixed - seen, done - fixed),
        quantized=len(plan.layers),
        skipped=plan.skipped,
        warnings=(*normalized.notes, *notes, *_warnings(observed)),
    )


def kept_samples(feeds: Tensors) -> int:
    """How many samples are kept on disk for the repair, by their size."""
    size = sum(values.nbytes for values in feeds.values()) // len(next(iter(feeds.values())))
    return max(MIN_KEPT, min(MAX_KEPT, KEPT_BYTES // max(size, 1)))


def _first_feeds(graph: Graph, dataset: Dataset) -> Tensors:
    specs = input_specs(graph.model)
    size = fixed_batch(specs) or 1
    return filled_feeds(cast_feeds(next(iter(dataset.batches(size))).feeds, specs), size)


def table_of(model_digest: str, plan: Plan, observed: Observed, method: str) -> RangeTable:
    """The range table of what was observed."""
    ranges = {}
    for tensor in plan.observed:
        seen = observed.seen[tensor]
        low, high = METHODS[method](seen.extremes, seen.histogram)
        ranges[tensor] = Range(low, high, method, seen.samples)
    return RangeTable(model=model_digest, ranges=ranges)


def _warnings(observed: Observed) -> list[str]:
    """What a person should know about the ranges."""
    found: list[str] = []
    if observed.samples < 32:
        found.append(f"only {observed.samples} samples: ranges may be too narrow; a few hundred calibrate well")
    constant = [name for name, seen in observed.seen.items() if seen.extremes.low >= seen.extremes.high]
    if constant:
        found.append(f"{len(constant)} tensors never changed, {constant[0]!r} among them: the samples or the model may be degenerate")
    return found
