"""An opened plan as a `Runner`: pinned buffers, one stream, a CUDA graph where it works, times by CUDA events.

The context is released whatever happens: `close` may be called twice, and after a failed start.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ...core.collection import collection_paused
from ...core.errors import Unfit
from ...core.tensors import TensorSpec
from ..base import Array, BuildOptions, LayerTime, Shapes, Split, Tensors
from ..feeds import check_feeds
from ..shapes import concrete_shapes
from .binding import Binding
from .bound import BoundPlan
from .device import CudaDevice, open_device
from .errors import load_error
from .loading import load_plan
from .log import make_logger
from .network import dtype_name

MAX_KEPT_SHAPES = 8


class TensorRtRunner:
    """One plan, one execution context, on one device."""

    def __init__(self, binding: Binding, plan: Path, options: BuildOptions, device: CudaDevice) -> None:
        self._device = device
        self._binding = binding
        self._bounds: dict[tuple[tuple[str, tuple[int, ...]], ...], BoundPlan] = {}
        self._logger = make_logger(binding.trt)
        self._engine: Any = None
        self._context: Any = None
        with ExitStack() as stack:
            stack.callback(self.close)
            with device.current(), collection_paused():
                self._engine = load_plan(binding, plan, options, self._logger)
                self._context = self._engine.create_execution_context()
                if self._context is None:
                    raise load_error(plan.name, self._logger.kept)
                self._stream = device.stream()
            specs = [_spec(binding, self._engine, index) for index in range(int(self._engine.num_io_tensors))]
            stack.pop_all()
        self.inputs = tuple(spec for spec, is_input in specs if is_input)
        self.outputs = tuple(spec for spec, is_input in specs if not is_input)
        self.provider: str = binding.name

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        check_feeds(feeds, self.inputs)
        bound = self._bound_for(feeds)
        bound.run()
        return {name: np.array(value) for name, value in bound.outputs.items()}

    def bind(self, shapes: Shapes) -> BoundPlan:
        wanted = concrete_shapes(self.inputs, shapes)
        with self._device.current():
            return BoundPlan(self._device, self._binding, self._context, self._stream, self.inputs, self.outputs, wanted)

    def split(self, feeds: Tensors) -> Split | None:
        check_feeds(feeds, self.inputs)
        return self._bound_for(feeds).run_split()

    @collection_paused()
    def layers(self, feeds: Tensors, runs: int) -> tuple[LayerTime, ...]:
        """Times by TensorRT's own profiler, after one run that is not counted."""
        profiler = _make_profiler(self._binding)
        bound = self._bound_for(feeds)
        bound.run()
        self._context.profiler = profiler
        for _ in range(runs):
            bound.run(may_capture=False)
        return tuple(LayerTime(name, "", self.provider, total / runs) for name, total in profiler.totals.items())

    def _bound_for(self, feeds: Tensors) -> BoundPlan:
        """Buffers of these shapes, kept: an application feeds few of them. The context has one set of shapes at a time."""
        key = tuple((spec.name, tuple(feeds[spec.name].shape)) for spec in self.inputs)
        bound = self._bounds.get(key)
        if bound is None:
            if len(self._bounds) >= MAX_KEPT_SHAPES:
                self._bounds.pop(next(iter(self._bounds))).close()
            bound = self._bounds[key] = self.bind(dict(key))
        for spec in self.inputs:
            bound.inputs[spec.name][...] = feeds[spec.name]
        return bound

    def close(self) -> None:
        for bound in self._bounds.values():
            bound.close()
        self._bounds = {}
        self._context = self._engine = None
        self._device.close()

    def __enter__(self) -> TensorRtRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_plan(binding: Binding, plan: Path, options: BuildOptions) -> TensorRtRunner:
    """Open a plan on the device of `options`.

    Raises:
        Unfit: ``engine-unusable``, ``engine-foreign``, ``backend-unavailable`` or ``out-of-memory``.
    """
    if not plan.is_file():
        raise Unfit("engine-unusable", f"there is no engine at {plan.name}", "Build it again")
    return TensorRtRunner(binding, plan, options, open_device(options.device_id))


def _spec(binding: Binding, engine: Any, index: int) -> tuple[TensorSpec, bool]:
    name = str(engine.get_tensor_name(index))
    shape = tuple(int(axis) if int(axis) >= 0 else None for axis in engine.get_tensor_shape(name))
    is_input = engine.get_tensor_mode(name) == binding.trt.TensorIOMode.INPUT
    return TensorSpec(name, dtype_name(binding, engine.get_tensor_dtype(name)), shape), is_input


def _make_profiler(binding: Binding) -> Any:
    base = binding.trt.IProfiler

    class Profiler(base):  # type: ignore[misc, valid-type] # the base comes from an untyped module
        def __init__(self) -> None:
            base.__init__(self)
            self.totals: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.totals[layer_name] = self.totals.get(layer_name, 0.0) + ms

    return Profiler()
