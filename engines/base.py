"""The seams: a backend makes engines, a runner is an opened engine.

A backend is one module in `backends` with a module-level ``BACKEND`` object of the `Backend` protocol. The conformance suite in
``tests/engines`` runs over everything that is found there.

Rules:
- "installed" and "usable" are different questions: `Backend.unavailable` answers the second, with a reason that a person can act on;
- a backend never falls back silently: what really ran stands in `Runner.provider`;
- heavy imports happen inside the methods of the one backend file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from ..core.tensors import TensorSpec
from .fingerprint import Compatibility, Precision

__all__ = [
    "Array",
    "Backend",
    "Bound",
    "BuildOptions",
    "Capabilities",
    "EngineFile",
    "LayerTime",
    "Precision",
    "Progress",
    "Runner",
    "ShapeProfile",
    "Shapes",
    "Split",
    "TensorSpec",
    "Tensors",
]  # fmt: skip

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
Progress = Callable[[float, str], None]
"""``progress(share, note)``. Raising from it ends a build: that is how a caller in the same process cancels one."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do on this device.

    `hardware` and `driver` name what its engines are bound to; empty where the processor alone decides. `is_plan_portable` is false
    where an engine is code for one version of the runtime on one kind of hardware. `is_strongly_typed` is true where precision can only
    come from the model's own types (TensorRT 11, TensorRT-RTX), so that INT8 and FP16 are other files, not other options; `takes_types` where it can
    (TensorRT 10 too).
    """

    version: str
    device: str
    precisions: tuple[Precision, ...]
    dialect: str
    is_plan_portable: bool = True
    hardware: str = ""
    driver: str = ""
    is_strongly_typed: bool = False
    takes_types: bool = False


@dataclass(frozen=True, slots=True)
class ShapeProfile:
    """The optimisation profile of one dynamic input, from the card."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build and open; defaults are batch 1 on one thread. None = the backend's default.

    `profiles` are needed for free axes other than the first, which takes `batch` when nothing is said. `calibration_cache` and
    `calibration_batches` serve runtimes with implicit INT8; a model with Q/DQ needs neither. `compute_capability` (``8.7``) builds for
    hardware that is not here, where the runtime can.
    """

    precision: Precision = "fp32"
    threads: int = 1
    batch: int = 1
    provider: str | None = None
    device_id: int = 0
    workspace_mb: int | None = None
    optimization_level: int | None = None
    profiles: Mapping[str, ShapeProfile] = field(default_factory=dict)
    calibration_cache: Path | None = None
    calibration_batches: Callable[[], Iterator[Tensors]] | None = None
    timing_cache: Path | None = None
    dla_core: int | None = None
    is_sparse: bool = False
    is_refittable: bool = False
    is_stripped: bool = False
    compatibility: Compatibility = "none"
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A built engine: `path` is the one file that the backend opens, inside the folder it was built into."""

    path: Path
    backend: str
    backend_version: str
    provider: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer of an engine: its mean time per inference, and what ran it."""

    name: str
    kind: str
    provider: str
    mean_ms: float


@dataclass(frozen=True, slots=True)
class Split:
    """One inference on an accelerator, in milliseconds by device events; `enqueue_ms` is the host's time to submit it."""

    host_to_device_ms: float
    compute_ms: float
    device_to_host_ms: float
    enqueue_ms: float


class Bound(Protocol):
    """An inference on fixed buffers: write `inputs`, call `run`, read `outputs`. No allocation and no copy that the backend can avoid."""

    @property
    def inputs(self) -> Tensors: ...

    @property
    def outputs(self) -> Tensors:
        """Valid after `run` and until the next one; an output whose shape depends on the data is another array each time."""
        ...

    def run(self) -> None: ...


class Runner(Protocol):
    """An opened engine. A context manager: leaving it releases everything. For one thread at a time."""

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

    def bind(self, shapes: Shapes) -> Bound:
        """Fixed buffers of the given input shapes; an input that is not named must have no free axis.

        Raises:
            Rejected: ``feeds-mismatch`` when a shape does not fit.
        """
        ...

    def split(self, feeds: Tensors) -> Split | None:
        """Run once and say where the time went; None where there is no accelerator."""
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

    def layers(self, engine: Path, options: BuildOptions, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        """Time each layer over `runs` inferences, in the order of execution. Slower than real runs: the shares are what counts."""
        ...
