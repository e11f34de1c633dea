"""Writes FP8 Q/DQ for processors that compute in 8-bit floats (NVIDIA Thor), from the same ranges as INT8.

Codes are E4M3 without infinities, symmetric, one scale per tensor for activations and for weights alike; biases stay float; Q/DQ stand where
TensorRT's INT8 file has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.dataset import Dataset
from ..core.digest import digest_of_file
from ..core.files import write_atomic
from .collect import Watch, observe
from .dialects import TENSORRT_FLOAT8
from .graph import Graph
from .keep import KeptSamples
from .normalize import normalized_model
from .opset import at_least
from .plan import nothing_to_quantise
from .ranges import NEEDS_HISTOGRAM, MethodName
from .tensorrt import plan_for_tensorrt
from .verify import MAX_SAMPLES
from .writer import QdqWriter
from .written import Written, proof

FLOAT8_NAME = "model.fp8.onnx"
OPSET = 19
FAITHFUL_DB = 15.0


def write_float8(
    model: Path,
    dataset: Dataset,
    out: Path,
    method: MethodName = "minmax",
    *,
    threads: int = 0,
    progress: Callable[[float, str], None] = lambda _share, _note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Written:
    """Write `model` with FP8 Q/DQ into the existing folder `out`, as ``model.fp8.onnx``, and run it here in float arithmetic.

    Raises:
        Rejected: ``nothing-to-quantise``, ``activation-not-finite``, or what is wrong with the model or the data.
        Unfit: ``cancelled``, ``opset-too-old``.
    """
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(at_least(normalized.model, OPSET, "FP8"))
    plan = plan_for_tensorrt(graph)
    if not plan.layers:
        raise nothing_to_quantise(plan, model.name)
    with KeptSamples(out, MAX_SAMPLES) as kept:
        watch = Watch(plan.observed, method in NEEDS_HISTOGRAM, method == "auto", threads)
        report = lambda share: progress(0.05 + 0.75 * share, f"observed {int(share * dataset.samples)} of {dataset.samples} samples")
        observed = observe(graph.model, watch, dataset, kept, progress=report, cancel=cancel)
        table = observed.table(digest_of_file(model), method)
        data: bytes = QdqWriter(graph, plan, table, TENSORRT_FLOAT8).write().SerializeToString()
        progress(0.85, "verifying the FP8 model")
        # ONNX Runtime's fusions on the processor take FP8 codes for integers (seen with 1.32): here only the arithmetic is proven.
        found = proof(graph.model, data, kept, threads, what="FP8", faithful_db=FAITHFUL_DB, with_kernels=False)
    write_atomic(out / FLOAT8_NAME, data)
    progress(1.0, "written in FP8")
    notes = (*normalized.notes, *observed.warnings(), *found.notes)
    return Written(out / FLOAT8_NAME, len(plan.layers), plan.skipped, dataset.samples, found.sqnr_db, notes)
