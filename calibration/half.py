"""Halves a model: FP32 to FP16 as casts in the graph, for runtimes that take precision from the model alone; torch is not needed.

What the tensors reach is observed on samples, where there are some, so that nothing overflows that did not before; what was written is run on
the processor against the original.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.dataset import Dataset
from ..core.files import write_atomic
from .collect import Watch, observe
from .graph import Graph
from .half_writer import half_model
from .keep import KeptSamples
from .normalize import normalized_model
from .ranges import minmax_range
from .table import Range
from .verify import MAX_SAMPLES
from .written import Written, proof

HALF_NAME = "model.fp16.onnx"
FAITHFUL_DB = 30.0


def write_half(
    model: Path,
    dataset: Dataset | None,
    out: Path,
    *,
    threads: int = 0,
    progress: Callable[[float, str], None] = lambda _share, _note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Written:
    """Write `model` in half precision into the existing folder `out`, as ``model.fp16.onnx``: inputs and outputs stay float32.

    Without `dataset` only constants are held against the limits of half precision.

    Raises:
        Rejected: ``activation-not-finite``, or what is wrong with the model or the data.
        Unfit: ``cancelled``, ``model-too-large``.
    """
    progress(0.0, "reading the model")
    normalized = normalized_model(model)
    graph = Graph(normalized.model)
    path = out / HALF_NAME
    if dataset is None:
        written = half_model(graph, {})
        write_atomic(path, written.model.SerializeToString())
        return Written(path, written.halved, written.kept, 0, None, (*normalized.notes, "no samples: whether activations overflow is not known"))
    with KeptSamples(out, MAX_SAMPLES) as kept:
        watch = Watch(_floats_between(graph), histograms=False, threads=threads)
        report = lambda share: progress(0.05 + 0.75 * share, f"observed {int(share * dataset.samples)} of {dataset.samples} samples")
        observed = observe(graph.model, watch, dataset, kept, progress=report, cancel=cancel)
        ranges = {name: Range(*minmax_range(seen.extremes, None), "minmax", seen.samples) for name, seen in observed.seen.items()}
        written = half_model(graph, ranges)
        data: bytes = written.model.SerializeToString()
        progress(0.85, "verifying the FP16 model")
        found = proof(graph.model, data, kept, threads, what="half precision", faithful_db=FAITHFUL_DB)
    write_atomic(path, data)
    progress(1.0, "halved")
    return Written(path, written.halved, written.kept, dataset.samples, found.sqnr_db, (*normalized.notes, *found.notes))


def _floats_between(graph: Graph) -> tuple[str, ...]:
    """The float32 tensors that are computed or fed."""
    made = [name for node in graph.nodes for name in node.output]
    return tuple(name for name in dict.fromkeys((*graph.inputs, *made)) if name in graph.float_tensors)
