"""The seam of blocks: one module of `blocks` has a module-level ``BLOCK`` object of the `Block` protocol. And `Builder`, which they write to."""

from __future__ import annotations

from typing import Protocol

from ...core.errors import Rejected
from ..wiring import INPUT, Add, Concat, Conv, Linear, Mean, Op, Shape, Shrink, shape_after


class Builder:
    """Collects operations; knows the shape of every tensor so far."""

    def __init__(self, shape: Shape) -> None:
        self.ops: list[Op] = []
        self.shapes: dict[str, Shape] = {INPUT: shape}

    def conv(
        self,
        source: str,
        width: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        is_active: bool = True,
        is_normalized: bool = True,
    ) -> str:
        channels = self.shapes[source][0]
        if channels % groups or width % groups:
            message = f"a convolution of {channels} to {width} channels cannot be split into {groups} groups"
            raise Rejected("student-spec-unbuildable", message, f"Use widths that are multiples of {groups}")
        return self._add(Conv(self._name("conv"), source, channels, width, kernel, stride, groups, is_active, is_normalized))

    def depthwise(self, source: str, *, stride: tuple[int, int] = (1, 1)) -> str:
        channels = self.shapes[source][0]
        return self.conv(source, channels, stride=stride, groups=channels)

    def add(self, left: str, right: str, *, is_active: bool = True) -> str:
        return self._add(Add(self._name("add"), left, right, is_active))

    def concat(self, left: str, right: str) -> str:
        return self._add(Concat(self._name("concat"), left, right))

    def shrink(self, source: str, factor: int) -> str:
        return self._add(Shrink(self._name("shrink"), source, factor))

    def mean(self, source: str) -> str:
        return self._add(Mean(self._name("mean"), source))

    def linear(self, source: str, outputs: int) -> str:
        channels, height, width = self.shapes[source]
        assert (height, width) == (1, 1)
        return self._add(Linear(self._name("linear"), source, channels, outputs))

    def shortcut(self, source: str, width: int, stride: tuple[int, int]) -> str:
        """`source` as `width` channels at 1/`stride`: itself, or through a 1×1 convolution."""
        if self.shapes[source][0] == width and stride == (1, 1):
            return source
        return self.conv(source, width, (1, 1), stride=stride, is_active=False)

    def _add(self, op: Op) -> str:
        self.shapes[op.name] = shape = shape_after(op, self.shapes)
        if min(shape) < 1:
            raise Rejected("student-spec-unbuildable", f"nothing is left of the picture after {op.name}", "Use fewer strides")
        self.ops.append(op)
        return op.name

    def _name(self, kind: str) -> str:
        return f"student/{kind}{len(self.ops) + 1}"


class Block(Protocol):
    """One way to make `width` channels of a tensor."""

    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        """Add the block's operations; returns the name of its result: `width` channels, at 1/`stride` of the resolution.

        Raises:
            Rejected: ``student-spec-unbuildable``.
        """
        ...
