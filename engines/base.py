"""The seams: a backend makes engines, a runner is an opened engine.

A backend is one module in `backends` with a module-level ``BACKEND`` object of the `Backend` protocol. The conformance suite in
``tests/engines`` runs over everything that is found there.

Rules:
- "installed" and "usable" are different questions: `Backend.unavailable` answers the second, with a reason that a person can act on;
- a backend never falls back silently: what really ran stands in `Runner.provider`;
- heavy imports happen inside the methods of the one backend file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy.typing as npt

from ..core.tensors import TensorSpec

__all__ = [
    "Array", "Backend", "BuildOptions", "Capabilities", "EngineFile", "Precision", "Progress", "Runner", "ShapeProfile", "TensorSpec", "Tensors",
]  # fmt: skip

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Precision = Literal["fp32", "fp16", "int8", "mixed"]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do on this device."""

    version: str
    device: str
    precisions: tuple[Precision, ...]
    dialect: str
    is_plan_portable: bool = True


@dataclass(frozen=True, slots=True)
class ShapeProfile:
    """The optimisation profile of one dynamic input, from the card."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build and open; defaults are batch 1 on one thread. None = the backend's default."""

    precision: Precision = "fp32"
    threads: int = 1
    batch: int = 1
    provider: str | None = None
    workspace_mb: int | None = None
    optimization_level: int | None = None
    profiles: Mapping[str, ShapeProfile] = field(default_factory=dict)
    calibration_cache: Path | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A built engine: `path` is the one file that the backend opens, inside the folder it was built into."""

    path: Path
    backend: str
    backend_version: str
    provider: str
    size_bytes: int


class Runner(Protocol):
    """An opened engine. A context manager: leaving it releases everything."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def provider(self) -> str:
        """What really runs the engine, for instance ``CPUExecutionProvider``."""
        ...

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        """Run once. `feeds` has every input by name with its dtype.

        Raises:
            Rejected: ``feeds-mismatch`` when names, types or shapes do not fit.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Runner: ...  # noqa: PYI034 - Self is not in Python 3.10's typing

    def __exit__(self, *exc: object) -> None: ...


class Backend(Protocol):
    """Makes and opens engines."""

    def unavailable(self) -> str | None:
        """None when engines can be built and run here; else what is missing and how to get it."""
        ...

    def capabilities(self) -> Capabilities:
        """Only asked when `unavailable` is None."""
        ...

    def build(self, model: Path, folder: Path, options: BuildOptions, progress: Progress) -> EngineFile:
        """Build `model` (ONNX) into the existing, empty `folder`. Blocks; runs in a limited child process.

        Raises:
            Rejected: the model is at fault (``model-unreadable``, ``operator-unsupported``, ``profile-missing``).
            Unfit: this device cannot (``backend-unavailable``, ``out-of-memory``).
        """
        ...

    def open(self, engine: Path, options: BuildOptions) -> Runner:
        """Open a built engine file.

        Raises:
            Unfit: ``engine-unusable``: absent, built for something else, truncated or modified; ``provider-unusable``.
            Rejected: what `build` raises, by a backend whose engine is the model itself.
        """
        ...
