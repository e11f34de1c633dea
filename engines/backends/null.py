"""The null backend: engines that answer with zeros of the right shape, for tests of everything around an engine.

It is never chosen on a device: it answers "usable" only while ``EDGEWRIGHT_NULL_BACKEND=1`` stands in the environment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from ...core.errors import Rejected, Unfit
from ...core.tensors import TensorSpec
from ..base import Array, BuildOptions, Capabilities, EngineFile, LayerTime, Progress, Runner, Shapes, Split, Tensors
from ..feeds import check_feeds
from ..model import input_specs, output_specs, read_model
from ..shapes import concrete_shapes

ENGINE_NAME = "model.null"


class NullRunner:
    """Zeros for every output; unknown axes become the batch of the first input."""

    provider = "null"

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        check_feeds(feeds, self.inputs)
        batch = len(next(iter(feeds.values()))) if self.inputs else 1
        return {spec.name: np.zeros([axis or batch for axis in spec.shape], spec.dtype) for spec in self.outputs}

    def bind(self, shapes: Shapes) -> NullBound:
        wanted = concrete_shapes(self.inputs, shapes)
        return NullBound(self, {spec.name: np.zeros(wanted[spec.name], spec.dtype) for spec in self.inputs})

    def split(self, feeds: Tensors) -> Split | None:
        return None

    def close(self) -> None:
        return

    def __enter__(self) -> NullRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class NullBound:
    """Zeros again."""

    def __init__(self, runner: NullRunner, inputs: dict[str, Array]) -> None:
        self._runner = runner
        self.inputs = inputs
        self.outputs: dict[str, Array] = {}

    def run(self) -> None:
        self.outputs = self._runner.infer(self.inputs)


class NullBackend:
    """The `Backend` that builds nothing."""

    def unavailable(self) -> str | None:
        if os.environ.get("EDGEWRIGHT_NULL_BACKEND") == "1":
            return None
        return "it computes nothing and is for tests: EDGEWRIGHT_NULL_BACKEND=1 enables it"

    def capabilities(self) -> Capabilities:
        return Capabilities("1", "null", ("fp32", "int8"), "null")

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        read_model(model)
        engine = folder / ENGINE_NAME
        shutil.copyfile(model, engine)
        progress(1.0, "built")
        return EngineFile(engine, "null", "1", "null", engine.stat().st_size)

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        try:
            model = read_model(engine)
        except Rejected as error:
            raise Unfit("engine-unusable", error.message, "Build it again") from error
        return NullRunner(input_specs(model), output_specs(model))

    def layers(self, engine: Path, options: BuildOptions, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        return ()


BACKEND = NullBackend()
