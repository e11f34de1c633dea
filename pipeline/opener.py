"""Opens models that are in memory on the backend of a run, built like any engine: what micro-models are timed with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compression.codec.container import serialized
from ..engines.base import BuildOptions
from ..engines.discovery import load_backend
from .measure import zeros_for

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class BackendOpener:
    """An `Opener` over the engines' seam."""

    backend: str
    options: BuildOptions

    @contextmanager
    def __call__(self, model: Any) -> Iterator[Call]:
        backend = load_backend(self.backend)
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            source, built = Path(folder) / "variant.onnx", Path(folder) / "engine"
            source.write_bytes(serialized(model))
            built.mkdir()
            engine = backend.build(source, built, self.options, lambda _share, _note: None)
            with backend.open(engine.path, self.options) as runner:
                feeds = zeros_for(runner.inputs, 1)
                infer = runner.infer
                yield lambda: infer(feeds)
