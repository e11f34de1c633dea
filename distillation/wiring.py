"""A student as a value: primitive operations in order, with their shapes and their cost. Both ONNX and PyTorch forms are made from it.

Rules:
- every operation makes one tensor, of its own name; `INPUT` names the student's input;
- shapes are channels × height × width of one sample; a convolution pads half its kernel, so that stride 1 keeps the size;
- a normalised convolution is trained with a batch norm, which leaves as part of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

INPUT = "input"
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution, its batch norm when `is_normalized`, and a Relu when `is_active`."""

    name: str
    source: str
    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    is_active: bool = True
    is_normalized: bool = True

    @property
    def params(self) -> int:
        return self.channels_out * (self.channels_in // self.groups * math.prod(self.kernel) + 1)

    def size_after(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = ((size[axis] + 2 * (self.kernel[axis] // 2) - self.kernel[axis]) // self.stride[axis] + 1 for axis in (0, 1))
        return height, width


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of two tensors of one shape, and a Relu when `is_active`."""

    name: str
    left: str
    right: str
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Concat:
    """Channels of one tensor, then of another."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Shrink:
    """The mean over windows of `factor` × `factor`: a smaller resolution."""

    name: str
    source: str
    factor: int


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over all positions."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product over channels, with a bias."""

    name: str
    source: str
    inputs: int
    outputs: int

    @property
    def params(self) -> int:
        return self.outputs * (self.inputs + 1)


Op = Conv | Add | Concat | Shrink | Mean | Linear
Weighted = Conv | Linear


@dataclass(frozen=True)
class Wiring:
    """A whole student. `taps` are the tensors at the ends of its stages, `output` what comes last."""

    shape: Shape
    ops: tuple[Op, ...]
    taps: tuple[str, ...]

    @property
    def output(self) -> str:
        return self.ops[-1].name

    @property
    def weighted(self) -> Iterator[Weighted]:
        return (op for op in self.ops if isinstance(op, Conv | Linear))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor."""
        known: dict[str, Shape] = {INPUT: self.shape}
        for op in self.ops:
            known[op.name] = shape_after(op, known)
        return known

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(self.macs_of(op) for op in self.weighted)

    def macs_of(self, op: Weighted) -> int:
        if isinstance(op, Linear):
            return op.inputs * op.outputs
        _, height, width = self.shapes[op.name]
        return height * width * op.channels_out * (op.channels_in // op.groups) * math.prod(op.kernel)

    @property
    def params(self) -> int:
        return sum(op.params for op in self.weighted)

    @property
    def launches(self) -> int:
        """Operations that a runtime starts one by one: what branches cost."""
        return len(self.ops)


def shape_after(op: Op, known: dict[str, Shape]) -> Shape:
    """The shape that `op` makes of shapes that are known."""
    if isinstance(op, Conv):
        _, height, width = known[op.source]
        return (op.channels_out, *op.size_after((height, width)))
    if isinstance(op, Add):
        return known[op.left]
    if isinstance(op, Concat):
        channels, height, width = known[op.left]
        return channels + known[op.right][0], height, width
    if isinstance(op, Linear):
        return op.outputs, 1, 1
    channels, height, width = known[op.source]
    if isinstance(op, Shrink):
        return channels, height // op.factor, width // op.factor
    return channels, 1, 1


def sources_of(op: Op) -> tuple[str, ...]:
    """The tensors that `op` reads."""
    return (op.left, op.right) if isinstance(op, Add | Concat) else (op.source,)
