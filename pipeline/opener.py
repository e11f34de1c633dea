"""Opens models that are in memory on the backend of a run, built like any engine: what micro-models are timed with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..compression.codec.container import serialized
from ..engines.base import BuildOptions
from ..engines.discovery import load_backend
from .measure import zeros_for

_CODING = frozenset({"QuantizeLinear", "DequantizeLinear"})
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class BackendOpener:
    """An `Opener` over the engines' seam."""

    backend: str
    options: BuildOptions

    @contextmanager
    def __call__(self, model: Any) -> Iterator[Call]:
        backend, options = load_backend(self.backend), self._options_for(model)
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            source, built = Path(folder) / "variant.onnx", Path(folder) / "engine"
            source.write_bytes(serialized(model))
            built.mkdir()
            engine = backend.build(source, built, options, lambda _share, _note: None)
            with backend.open(engine.path, options) as runner:
                feeds = zeros_for(runner.inputs, 1)
                infer = runner.infer
                yield lambda: infer(feeds)

    def _options_for(self, model: Any) -> BuildOptions:
        """A backend refuses to call a model INT8 that has no codes: an inference that computes nothing has none."""
        is_coded = any(node.op_type in _CODING for node in model.graph.node)
        return self.options if is_coded or self.options.precision not in {"int8", "mixed"} else replace(self.options, precision="fp32")
