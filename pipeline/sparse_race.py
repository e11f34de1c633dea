"""Times a model in 2:4 against the dense one where zeros may count: on a TensorRT backend, the one built with sparse kernels, the other without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..compression.codec.container import serialized
from ..compression.passes.sparsify_2_4 import SPARSE_BACKENDS
from ..core.errors import EdgewrightError, Unfit
from ..core.measurement import Latency
from ..engines.base import BuildOptions, Runner
from ..engines.discovery import load_backend
from ..profiling.latency import measure_interleaved
from .build import build_options
from .measure import zeros_for
from .subject import Subject, batch_for

Cancel = Callable[[], bool]
_RACE_S = 0.5


def why_no_sparse(backend: str) -> str | None:
    """Why zeros in the pattern 2:4 gain nothing on `backend`; None when they may."""
    return None if backend in SPARSE_BACKENDS else f"{backend} has no kernels that skip zeros"


def race_sparse(subject: Subject, before: Any, after: Any, threads: int, cancel: Cancel) -> tuple[Latency, Latency]:
    """Latency of the dense model `before` and of `after` in 2:4, in turns.

    Raises:
        Unfit: ``sparse-not-measured`` when no backend with sparse kernels built both.
    """
    reasons = []
    for name in SPARSE_BACKENDS:
        if (reason := load_backend(name).unavailable()) is not None:
            reasons.append(f"{name}: {reason}")
            continue
        try:
            return _race(name, subject, before, after, threads, cancel)
        except EdgewrightError as error:
            if error.code == "cancelled":
                raise
            reasons.append(f"{name}: {error.message}")
    raise Unfit("sparse-not-measured", f"the gain of 2:4 could not be measured here ({'; '.join(reasons)})", "Leave sparsify_2_4 out of the recipe")


def _race(backend: str, subject: Subject, before: Any, after: Any, threads: int, cancel: Cancel) -> tuple[Latency, Latency]:
    capabilities = load_backend(backend).capabilities()
    may_halve = "fp16" in capabilities.precisions and not capabilities.is_strongly_typed
    options = build_options(subject, precision="fp16" if may_halve else "fp32", threads=threads, batch=1)
    with tempfile.TemporaryDirectory(prefix="edgewright-sparse-") as folder, ExitStack() as opened:
        dense = opened.enter_context(_opened(backend, before, Path(folder) / "dense", options))
        sparse = opened.enter_context(_opened(backend, after, Path(folder) / "sparse", replace(options, is_sparse=True)))
        feeds = zeros_for(dense.inputs, batch_for(dense.inputs, 1))
        timed = measure_interleaved({"dense": lambda: dense.infer(feeds), "sparse": lambda: sparse.infer(feeds)}, seconds=_RACE_S, cancel=cancel)
    return timed["dense"], timed["sparse"]


def _opened(backend: str, model: Any, folder: Path, options: BuildOptions) -> Runner:
    folder.mkdir()
    source = folder.with_suffix(".onnx")
    source.write_bytes(serialized(model))
    engine = load_backend(backend).build(source, folder, options, lambda _share, _note: None)
    return load_backend(backend).open(engine.path, options)
