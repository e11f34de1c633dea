"""One set of buffers for one set of input shapes: what an inference is submitted with.

Outputs whose shape depends on the data (in-graph non-maximum suppression) are allocated by TensorRT's wish, through an output allocator; their
shape is known after the run.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...core.errors import Rejected
from ...core.tensors import TensorSpec
from ..base import Array, Shapes, Split
from .binding import Binding
from .device import CudaDevice, HostBuffer
from .errors import run_error
from .graph import CapturedGraph, capture


class BoundPlan:
    """Buffers and, after the first run, a CUDA graph where the plan can be captured."""

    def __init__(
        self,
        device: CudaDevice,
        binding: Binding,
        context: Any,
        stream: Any,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        shapes: Shapes,
    ) -> None:
        self._device, self._context, self._stream, self._shapes = device, context, stream, shapes
        self._in = {spec.name: device.buffer(shapes[spec.name], spec.dtype) for spec in inputs}
        self._set_shapes()
        self._out: dict[str, HostBuffer] = {}
        self._free: dict[str, tuple[Any, str]] = {}
        for spec in outputs:
            shape = tuple(int(axis) for axis in context.get_tensor_shape(spec.name))
            if min(shape, default=0) < 0:
                self._free[spec.name] = (make_allocator(binding, device), spec.dtype)
            else:
                self._out[spec.name] = device.buffer(shape, spec.dtype)
        self._order = [spec.name for spec in (*inputs, *outputs)]
        self._output_names = [spec.name for spec in outputs]
        self._graph: CapturedGraph | None = None
        self._runs = 0
        self._free_values: dict[str, Array] = {}

    @property
    def inputs(self) -> dict[str, Array]:
        return {name: buffer.array for name, buffer in self._in.items()}

    @property
    def outputs(self) -> dict[str, Array]:
        found = {name: buffer.array for name, buffer in self._out.items()} | self._free_values
        return {name: found[name] for name in self._output_names if name in found}

    def run(self, *, may_capture: bool = True) -> None:
        with self._device.current():
            if self._graph is not None and may_capture:
                if not self._graph.launch(int(self._stream.handle)):
                    raise run_error("the CUDA graph could not be launched")
            else:
                self._bind()
                self._submit_checked()
                # The first run lets TensorRT initialise lazily what a capture must not contain.
                if may_capture and self._runs == 1 and not self._free:
                    self._stream.synchronize()
                    self._graph = capture(int(self._stream.handle), self._submit)
            self._runs += 1
            self._stream.synchronize()
            self._fetch_free()

    def run_split(self) -> Split:
        """Once, with events between the parts."""
        with self._device.current():
            self._bind()
            marks = [self._device.event() for _ in range(4)]
            marks[0].record(self._stream)
            self._copy_in()
            marks[1].record(self._stream)
            before = time.perf_counter()
            if not self._enqueue():
                raise run_error("the inference could not be submitted")
            enqueue_ms = 1000 * (time.perf_counter() - before)
            marks[2].record(self._stream)
            self._copy_out()
            marks[3].record(self._stream)
            marks[3].synchronize()
            self._fetch_free()
            return Split(marks[0].time_till(marks[1]), marks[1].time_till(marks[2]), marks[2].time_till(marks[3]), enqueue_ms)

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _set_shapes(self) -> None:
        for name, shape in self._shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise Rejected(
                    "feeds-mismatch", f"the input {name!r} has shape {shape}, which the engine's profile excludes", "Build with a wider profile"
                )

    def _bind(self) -> None:
        """The context is shared by all bound shapes: say each time which buffers are meant."""
        self._set_shapes()
        for name, buffer in (*self._in.items(), *self._out.items()):
            self._context.set_tensor_address(name, buffer.address)
        for name, (allocator, _dtype) in self._free.items():
            self._context.set_output_allocator(name, allocator)

    def _submit_checked(self) -> None:
        if not self._submit():
            raise run_error("the inference could not be submitted")

    def _submit(self) -> bool:
        self._copy_in()
        is_submitted = self._enqueue()
        self._copy_out()
        return is_submitted

    def _enqueue(self) -> bool:
        if hasattr(self._context, "execute_async_v3"):
            return bool(self._context.execute_async_v3(int(self._stream.handle)))
        buffers = {**self._in, **self._out}
        return bool(self._context.execute_async_v2([buffers[name].address for name in self._order], int(self._stream.handle)))

    def _copy_in(self) -> None:
        for buffer in self._in.values():
            self._device.to_device(buffer, self._stream)

    def _copy_out(self) -> None:
        for buffer in self._out.values():
            self._device.to_host(buffer, self._stream)

    def _fetch_free(self) -> None:
        for name, (allocator, dtype) in self._free.items():
            array = np.empty(allocator.shape, dtype)
            if array.nbytes and allocator.memory is not None:
                self._device.copy_out(array, allocator.memory, self._stream)
                self._stream.synchronize()
            self._free_values[name] = array


def make_allocator(binding: Binding, device: CudaDevice) -> Any:
    """An ``IOutputAllocator`` that keeps one allocation and lets it grow."""
    base = binding.trt.IOutputAllocator

    class OutputAllocator(base):  # type: ignore[misc, valid-type] # the base comes from an untyped module
        def __init__(self) -> None:
            base.__init__(self)
            self.memory: Any = None
            self.shape: tuple[int, ...] = (0,)
            self._size_bytes = 0

        def reallocate_output(self, _tensor_name: str, _memory: object, size: int, _alignment: int) -> int:
            if self.memory is None or size > self._size_bytes:
                self.memory, self._size_bytes = device.allocate(size), size
            return int(self.memory)

        def reallocate_output_async(self, tensor_name: str, memory: object, size: int, alignment: int, _stream: int) -> int:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, _tensor_name: str, shape: Any) -> None:
            self.shape = tuple(int(axis) for axis in shape)

    return OutputAllocator()
