"""A backend whose kernels skip zeros, as TensorRT's do: ONNX Runtime behind the same seam. It keeps what it was asked to build."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgewright.core.errors import Unfit
from edgewright.engines.base import BuildOptions, Capabilities, EngineFile, LayerTime, Progress, Runner, Tensors
from edgewright.engines.ort.runner import open_on_cpu


class SparseBackend:
    """The `Backend`. `failure` None = it builds; else why it cannot."""

    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.built: list[BuildOptions] = []

    def unavailable(self) -> str | None:
        return None

    def capabilities(self) -> Capabilities:
        return Capabilities("10.3", "Orin", ("fp32", "fp16", "int8"), "tensorrt")

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        if self.failure is not None:
            raise Unfit("out-of-memory", self.failure, "Use a smaller model")
        assert not list(folder.iterdir()), "an engine is built into an empty folder"
        self.built.append(options)
        engine = folder / "model.plan"
        shutil.copyfile(model, engine)
        progress(1.0, "built")
        return EngineFile(engine, "tensorrt", "10.3", "Orin", engine.stat().st_size)

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        return open_on_cpu(engine.read_bytes(), "the engine", threads=options.threads)

    def layers(self, engine: Path, options: BuildOptions, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        return ()


def install(monkeypatch: Any, backend: SparseBackend) -> SparseBackend:
    """`backend` stands where TensorRT's would."""
    from edgewright.engines.backends import tensorrt

    monkeypatch.setattr(tensorrt, "BACKEND", backend)
    return backend
