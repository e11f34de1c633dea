"""Turns a spec into a wiring that fits its teacher's interface."""

from __future__ import annotations

from typing import cast

from ..core.errors import Rejected
from ..core.plugins import load_plugin
from . import blocks
from .blocks._base import Block, Builder
from .interface import Interface
from .spec import StudentSpec
from .wiring import INPUT, Wiring

MAX_PARAMS = 50_000_000


def student_wiring(spec: StudentSpec, interface: Interface) -> Wiring:
    """Wire up `spec`; the head is a matrix product over the mean, or a 1×1 convolution where the output is a picture of the last stage's size.

    Raises:
        Rejected: ``student-spec-unbuildable``.
    """
    builder = Builder(interface.shape)
    tensor, taps = INPUT, []
    if spec.shrink > 1:
        tensor = builder.shrink(tensor, spec.shrink)
    for stage in spec.stages:
        block = cast("Block", load_plugin(blocks, stage.block).BLOCK)
        for index in range(stage.depth):
            tensor = block.build(builder, tensor, stage.width, stage.stride if index == 0 else (1, 1))
        taps.append(tensor)
    _head(builder, tensor, interface)
    wiring = Wiring(interface.shape, tuple(builder.ops), tuple(taps))
    if wiring.params > MAX_PARAMS:
        raise Rejected("student-spec-unbuildable", f"{spec} has {wiring.params} parameters, more than {MAX_PARAMS}", "Use smaller widths")
    return wiring


def _head(builder: Builder, tensor: str, interface: Interface) -> None:
    wanted = interface.output_shape
    if len(wanted) == 3 and wanted[1:] != (1, 1):
        have = builder.shapes[tensor][1:]
        if have != wanted[1:]:
            message = f"the student ends at {have[0]}×{have[1]}, the teacher's output is a picture of {wanted[1]}×{wanted[2]}"
            raise Rejected("student-spec-unbuildable", message, "Choose strides that end at the teacher's output size")
        builder.conv(tensor, wanted[0], (1, 1), is_active=False, is_normalized=False)
    else:
        builder.linear(builder.mean(tensor), interface.outputs)
