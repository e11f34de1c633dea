"""The teacher: an ONNX model behind a `Runner`, with its inner activations as further outputs. It is never converted to anything else.

Activations are kept at the picture size that the student has there, as means over windows, where one divides the other: losses compare at that size
anyway, and a teacher's early activations would fill the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compression.activations import submodel
from ..compression.fidelity import logit_tensors
from ..core.errors import Rejected
from ..engines.base import Runner
from ..engines.model import output_specs
from ..engines.ort.runner import open_on_cpu
from .interface import Interface

Floats = npt.NDArray[np.float32]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher makes of some samples: its output before a final Softmax, samples × numbers, and the activations at its taps."""

    output: Floats
    taps: tuple[Floats, ...]

    @property
    def nbytes(self) -> int:
        return self.output.nbytes + sum(tap.nbytes for tap in self.taps)


class Teacher:
    """A teacher for one student. A context manager: leaving it closes the runner."""

    def __init__(self, runner: Runner, interface: Interface, output: str, taps: Sequence[str], sizes: Sequence[Size] | None = None) -> None:
        """`sizes` are the picture sizes to keep the taps at; None = as they are."""
        self._runner = runner
        self._interface = interface
        self._output = output
        self._taps = tuple(taps)
        self._sizes = [None] * len(self._taps) if sizes is None else list(sizes)

    def lesson(self, inputs: Floats) -> Lesson:
        """Run the teacher on samples × channels × height × width; a teacher of fixed batch runs as often as it must.

        Raises:
            Rejected: ``activation-not-finite``.
        """
        size = self._interface.batch or len(inputs)
        parts = [self._run(inputs[start : start + size], size) for start in range(0, len(inputs), size)]
        output = np.concatenate([part.output for part in parts])
        if not np.isfinite(output).all():
            raise Rejected("activation-not-finite", "the teacher's output became NaN or infinite", "Check the samples and the card's mean and std")
        return Lesson(output, tuple(np.concatenate(values) for values in zip(*(part.taps for part in parts), strict=True)))

    def _run(self, inputs: Floats, size: int) -> Lesson:
        count = len(inputs)
        if count < size:
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], size - count, axis=0)])
        made = self._runner.infer({self._interface.input_name: np.ascontiguousarray(inputs)})
        output = made[self._output].reshape(size, -1)[:count].astype(np.float32)
        taps = zip(self._taps, self._sizes, strict=True)
        return Lesson(output, tuple(made[name][:count] if size is None else windowed(made[name][:count], size) for name, size in taps))

    def __enter__(self) -> Teacher:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self._runner.close()


def windowed(tap: Floats, size: Size) -> Floats:
    """Means over whole windows that make `tap` (samples × channels × height × width) of `size`; `tap` itself where windows do not divide it."""
    samples, channels, height, width = tap.shape
    high, wide = size
    if (height, width) == size or height % high or width % wide:
        return tap
    return np.ascontiguousarray(tap.reshape(samples, channels, high, height // high, wide, width // wide).mean((3, 5)), np.float32)


def scores_tensor(model: Any, interface: Interface) -> str:
    """The tensor that is learned: the output, or what enters its final Softmax."""
    names = [spec.name for spec in output_specs(model)]
    return logit_tensors(model)[names.index(interface.output_name)]


def open_teacher(model: Any, interface: Interface, taps: Sequence[str], *, sizes: Sequence[Size] | None = None, threads: int) -> Teacher:
    """Open the normalised teacher with its scores and `taps` (at `sizes`) as outputs, on the processor."""
    scores = scores_tensor(model, interface)
    part = submodel(model, list(dict.fromkeys([scores, *taps])))
    return Teacher(open_on_cpu(part.SerializeToString(), "the teacher", threads=threads), interface, scores, taps, sizes)
