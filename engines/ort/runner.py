"""An opened session as a `Runner`: plain calls, and calls on bound buffers.

Inputs and outputs of a bound run are numpy arrays that ONNX Runtime reads and writes in place on the CPU; another provider copies between them
and its own memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.tensors import TensorSpec
from ..base import Array, Shapes, Split, Tensors
from ..feeds import check_feeds
from ..shapes import concrete_shapes
from .providers import CPU, ProviderOptions
from .session import new_session, run_error

_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8", "tensor(int8)": "int8",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool", "tensor(uint16)": "uint16", "tensor(int16)": "int16",
    "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip


def open_runner(model: str | bytes, name: str, *, threads: int, providers: Sequence[tuple[str, ProviderOptions]]) -> OnnxRuntimeRunner:
    """A runner for the ONNX file at the path `model`, or in its bytes: see `new_session`. Which provider runs it stands in `provider`."""
    return OnnxRuntimeRunner(new_session(model, name, threads=threads, providers=providers))


def open_on_cpu(
    model: bytes, name: str, *, threads: int, is_frugal: bool = False, is_steady: bool = False, is_optimized: bool = True
) -> OnnxRuntimeRunner:
    """A runner on the processor, whatever else is there: for what is computed about a model rather than with it. See `new_session`."""
    providers = [(CPU, ProviderOptions())]
    return OnnxRuntimeRunner(
        new_session(model, name, threads=threads, providers=providers, is_frugal=is_frugal, is_steady=is_steady, is_optimized=is_optimized)
    )


class OnnxRuntimeRunner:
    """An opened session on one provider."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self.provider: str = session.get_providers()[0]
        self._output_names = [spec.name for spec in self.outputs]
        self._run = session.run

    def infer(self, feeds: Tensors) -> dict[str, Array]:
        try:
            values = self._run(self._output_names, feeds)
        except Exception as error:
            # Only asked after a failure, so that a right call pays nothing.
            check_feeds(feeds, self.inputs)
            raise run_error(error) from error
        return dict(zip(self._output_names, values, strict=True))

    def bind(self, shapes: Shapes) -> OnnxRuntimeBound:
        return OnnxRuntimeBound(self._session, self.inputs, self.outputs, shapes)

    def split(self, feeds: Tensors) -> Split | None:
        """None: ONNX Runtime does not tell copies from computing."""
        return None

    def close(self) -> None:
        self._session = self._run = None

    def __enter__(self) -> OnnxRuntimeRunner:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class OnnxRuntimeBound:
    """A run on fixed buffers. Outputs whose shape follows from the inputs' alone are fixed too, as far as the model names their axes."""

    def __init__(self, session: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], shapes: Shapes) -> None:
        wanted = concrete_shapes(inputs, shapes)
        self._session = session
        self._binding = session.io_binding()
        self.inputs: dict[str, Array] = {spec.name: np.zeros(wanted[spec.name], spec.dtype) for spec in inputs}
        for name, value in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, value.dtype.type, value.shape, value.ctypes.data)
        axes = _axis_sizes(session.get_inputs(), wanted)
        self._fixed: dict[str, Array] = {}
        self._free: list[tuple[int, str]] = []
        for index, (spec, value) in enumerate(zip(outputs, session.get_outputs(), strict=True)):
            shape = _output_shape(value.shape, axes)
            if shape is None:
                self._free.append((index, spec.name))
                self._binding.bind_output(spec.name, "cpu")
                continue
            array = self._fixed[spec.name] = np.empty(shape, spec.dtype)
            self._binding.bind_output(spec.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._order = [spec.name for spec in outputs]

    @property
    def outputs(self) -> Mapping[str, Array]:
        if not self._free:
            return self._fixed
        values = self._binding.get_outputs()
        found = self._fixed | {name: values[index].numpy() for index, name in self._free}
        return {name: found[name] for name in self._order}

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise run_error(error) from error


def _axis_sizes(values: list[Any], wanted: Shapes) -> dict[str, int]:
    """The sizes of the axes that the model has names for."""
    return {axis: size for value in values for axis, size in zip(value.shape, wanted[value.name], strict=True) if isinstance(axis, str) and axis}


def _output_shape(shape: list[int | str | None], axes: Mapping[str, int]) -> tuple[int, ...] | None:
    found = [axis if isinstance(axis, int) and axis > 0 else axes.get(axis) if isinstance(axis, str) else None for axis in shape]
    known = tuple(axis for axis in found if axis is not None)
    return known if len(known) == len(shape) else None


def _spec(value: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)
