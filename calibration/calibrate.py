"""Calibrates one model: normalise, plan, observe, choose ranges, write the Q/DQ models.

The original file is never touched; what is written appears whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.files import write_atomic
from ..engines.base import Tensors
from ..engines.feeds import cast_feeds, filled_feeds, fixed_batch
from ..engines.model import input_specs
from .collect import Watch, keep_samples, observe
from .dialects import NARROW_WEIGHT_MAX, TENSORRT, Target, onnxruntime_dialect
from .doubts import dead_channels
from .graph import Graph
from .keep import KeptSamples
from .memory import give_memory_back
from .normalize import normalized_model
from .placement import float_ends
from .plan import Plan, Skipped, nothing_to_quantise, plan_for_onnxruntime
from .ranges import NEEDS_HISTOGRAM, MethodName, method_named
from .repair import Repair, Repaired, RepairOptions
from .rewriting import load_rewrite
from .sensitivity import Mixed, Mixer
from .table import RangeTable
from .tensorrt import calibration_cache, plan_for_tensorrt
from .verify import Verifier
from .writer import Dialect, QdqWriter

Progress = Callable[[float, str], None]
TABLE_NAME = "ranges.json"
MODEL_NAME = "model.int8.onnx"
TENSORRT_NAME = "model.tensorrt.onnx"
CACHE_NAME = "model.calibration.cache"
KEPT_BYTES = 52 << 20
MAX_KEPT, MIN_KEPT = 256, 32


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How to calibrate. `threads` 0 = all cores; `batch` is used where the model leaves it free.

    `target` is the processor that ONNX Runtime's file is written for. With a `table` of the same model nothing is observed. Below
    `min_sqnr_db` (None: no such budget) the most sensitive layers go back to float. `is_for_speed`: see `float_ends`. `floats` are the layers that
    stay in float; None = `float_ends` decides.
    """

    method: MethodName = "auto"
    target: Target = "here"
    table: RangeTable | None = None
    min_sqnr_db: float | None = None
    is_for_speed: bool = False
    floats: tuple[str, ...] | None = None
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
    tensorrt: Path
    tensorrt_cache: Path
    table: Path
    method: str
    images: int
    seconds: float
    phases: Phases
    quantized: int
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """What the stages share: the normalised model, where its Q/DQ goes for each runtime, and how to calibrate it."""

    graph: Graph
    plan: Plan
    explicit: Plan
    dialect: Dialect
    out: Path
    options: CalibrationOptions
    progress: Progress
    cancel: Callable[[], bool]

    @property
    def tensors(self) -> tuple[str, ...]:
        """What is observed: all that any runtime's file needs."""
        return tuple(dict.fromkeys((*self.plan.observed, *self.explicit.observed)))


def calibrate(
    model: Path, dataset: Dataset, out: Path, options: CalibrationOptions, *, progress: Progress, cancel: Callable[[], bool]
) -> Calibration:
    """Calibrate `model` on all of `dataset` and write range table, Q/DQ models and TensorRT's cache into the existing folder `out`.

    Raises:
        Rejected: ``nothing-to-quantise``, ``activation-not-finite``, or what is wrong with the model or the data.
        Unfit: ``cancelled``.
    """
    started = time.monotonic()
    method_named(options.method)
    give_memory_back()
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(normalized.model)
    feeds = _first_feeds(graph, dataset)
    task = _task(graph, model.name, feeds, out, options, progress, cancel)
    with KeptSamples(out, kept_samples(feeds)) as kept:
        read = time.monotonic()
        table, warnings = _observe(task, digest_of_file(model), dataset, kept)
        give_memory_back()
        seen = time.monotonic()
        plain = Repaired(graph, table, {}, ())
        repaired = _repair(task, table, kept) if options.repair else plain
        fixed = time.monotonic()
        progress(0.92, "writing and verifying the INT8 model")
        verifier = Verifier(graph.model, kept, options.threads)
        chosen, data, notes = _never_worse(verifier, task.plan, task.dialect, repaired, plain)
        if options.min_sqnr_db is not None:
            task, data = _within_budget(task, verifier, chosen, data, options.min_sqnr_db, notes)
    _write(task, chosen, data, table)
    progress(1.0, "calibrated")
    done = time.monotonic()
    return Calibration(
        onnxruntime=out / MODEL_NAME,
        tensorrt=out / TENSORRT_NAME,
        tensorrt_cache=out / CACHE_NAME,
        table=out / TABLE_NAME,
        method=options.method,
        images=dataset.samples,
        seconds=done - started,
        phases=Phases(read - started, seen - read, fixed - seen, done - fixed),
        quantized=len(task.plan.layers),
        skipped=task.plan.skipped,
        warnings=(*normalized.notes, *repaired.notes, *notes, *warnings, *dead_channels(graph, task.plan)),
    )


def _task(graph: Graph, name: str, feeds: Tensors, out: Path, options: CalibrationOptions, progress: Progress, cancel: Callable[[], bool]) -> _Task:
    dialect = onnxruntime_dialect(None if options.target == "here" else options.target)
    floats = frozenset(options.floats or ())
    plan = _plan(graph, name, floats)
    if options.floats is None and options.repair and options.repairs.ends:
        plan = plan_for_onnxruntime(graph, float_ends(graph, plan, dialect, feeds, is_for_speed=options.is_for_speed))
    return _Task(graph, plan, plan_for_tensorrt(graph, floats), dialect, out, options, progress, cancel)


def _observe(task: _Task, model_digest: str, dataset: Dataset, kept: KeptSamples) -> tuple[RangeTable, list[str]]:
    """The range table, and what a person should know about it; what was observed is let go."""
    options, count = task.options, dataset.samples
    if options.table is not None:
        options.table.check(model_digest, task.tensors)
        keep_samples(dataset, kept, cancel=task.cancel)
        return options.table, []
    watch = Watch(task.tensors, options.method in NEEDS_HISTOGRAM, options.method == "auto", options.threads, options.batch)
    report = lambda share: task.progress(0.02 + 0.4 * share, f"observed {int(share * count)} of {count} samples")
    observed = observe(task.graph.model, watch, dataset, kept, progress=report, cancel=task.cancel)
    return observed.table(model_digest, options.method), observed.warnings()


def _repair(task: _Task, table: RangeTable, kept: KeptSamples) -> Repaired:
    options = task.options
    report = lambda share: task.progress(0.42 + 0.5 * share, "repairing the INT8 model")
    repair = Repair(task.graph, task.plan, table, task.dialect, task.tensors, kept, task.out, options.repairs, report, task.cancel)
    return repair.run(options.method)


def _write(task: _Task, chosen: Repaired, data: bytes, table: RangeTable) -> None:
    """TensorRT's cache and the table belong to the model as its owner has it; the Q/DQ models to the repaired one."""
    write_atomic(task.out / MODEL_NAME, data)
    explicit = QdqWriter(chosen.graph, task.explicit, chosen.table, TENSORRT, chosen.weights).write()
    write_atomic(task.out / TENSORRT_NAME, explicit.SerializeToString())
    write_atomic(task.out / CACHE_NAME, calibration_cache(table).encode())
    table.save(task.out / TABLE_NAME)


def _plan(graph: Graph, name: str, floats: frozenset[str]) -> Plan:
    plan = plan_for_onnxruntime(graph, floats)
    if not plan.layers:
        raise nothing_to_quantise(plan, name)
    return plan


def _never_worse(verifier: Verifier, plan: Plan, dialect: Dialect, repaired: Repaired, plain: Repaired) -> tuple[Repaired, bytes, list[str]]:
    """What is to be written: the repaired network unless the plain one is more faithful, and what there is to say about it."""
    notes: list[str] = []
    chosen, data = repaired, _written(plan, dialect, repaired)
    sqnr_db = verifier.sqnr_db(data)
    if repaired is not plain:
        simple = _written(plan, dialect, plain)
        without_db = verifier.sqnr_db(simple)
        if without_db > sqnr_db:
            notes.append(f"the repair was not kept: {sqnr_db:.1f} dB with it, {without_db:.1f} dB without")
            chosen, data, sqnr_db = plain, simple, without_db
    fault = verifier.kernel_fault(data, sqnr_db)
    if fault is None:
        return chosen, data, notes
    notes.append(fault)
    narrow = replace(dialect, weight_max=NARROW_WEIGHT_MAX)
    spared = _written(plan, narrow, plain)
    narrow_db = verifier.sqnr_db(spared)
    if narrow_db > sqnr_db:
        notes.append(f"weights were kept within 7 bits, which that does not befall: {narrow_db:.1f} dB")
        return plain, spared, notes
    return chosen, data, notes


def _within_budget(task: _Task, verifier: Verifier, chosen: Repaired, data: bytes, wanted_db: float, notes: list[str]) -> tuple[_Task, bytes]:
    """`task` and its file with the most sensitive layers in float where INT8 alone does not reach `wanted_db`; `notes` says which."""
    reached = verifier.sqnr_db(data)
    if reached >= wanted_db:
        return task, data
    float_now = frozenset(entry.node for entry in task.plan.skipped)

    def replanned(more: frozenset[str]) -> Plan | None:
        plan = plan_for_onnxruntime(task.graph, float_now | more)
        return plan if all(name in chosen.table.ranges for name in plan.observed) else None

    mixer = Mixer(verifier, replanned, lambda plan: _written(plan, task.dialect, chosen), task.cancel)
    mixed = mixer.reach(wanted_db, Mixed(task.plan, data, reached, ()))
    notes += [f"{entry.layer.node} was kept in float: alone it gains {entry.gain_db:.2f} dB" for entry in mixed.kept]
    if mixed.sqnr_db < wanted_db:
        notes.append(f"{wanted_db:g} dB were wanted, {mixed.sqnr_db:.1f} dB reached with {len(mixed.kept)} layers in float")
    kept = frozenset(entry.layer.node for entry in mixed.kept)
    return replace(task, plan=mixed.plan, explicit=plan_for_tensorrt(task.graph, kept)), mixed.data


def _written(plan: Plan, dialect: Dialect, network: Repaired) -> bytes:
    """The Q/DQ model; padding is done on codes in it, which is exact."""
    model = QdqWriter(network.graph, plan, network.table, dialect, network.weights).write()
    data: bytes = (load_rewrite("stay_in_codes").apply(model) or model).SerializeToString()
    return data


def kept_samples(feeds: Tensors) -> int:
    """How many samples are kept on disk for the repair, by their size."""
    size = sum(values.nbytes for values in feeds.values()) // len(next(iter(feeds.values())))
    return max(MIN_KEPT, min(MAX_KEPT, KEPT_BYTES // max(size, 1)))


def _first_feeds(graph: Graph, dataset: Dataset) -> Tensors:
    specs = input_specs(graph.model)
    size = fixed_batch(specs) or 1
    return filled_feeds(cast_feeds(next(iter(dataset.batches(size))).feeds, specs), size)
