"""Engines of ONNX files for a fidelity measurement, each with its twin without the final Softmax, in a folder that goes away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..engines.base import BuildOptions
from ..engines.logits import write_logits_model
from .measure import EngineUnderTest
from .subject import Subject


@contextmanager
def with_logits(subject: Subject, models: Mapping[str, Path], *, threads: int = 0) -> Iterator[dict[str, EngineUnderTest]]:
    """`models` (ONNX files by name) to be opened by onnxruntime; `threads` 0 = all cores, since nothing is timed."""
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        options = BuildOptions(threads=threads)
        yield {
            name: EngineUnderTest("onnxruntime", path, options, write_logits_model(path, Path(folder) / f"{name}.onnx") if subject.softmax else None)
            for name, path in models.items()
        }
