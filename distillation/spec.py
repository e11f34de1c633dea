"""The words for a student: blocks, widths, depths and strides, as text.

    shrink:2,plain:16/2,separable:32x2/2,separable:64x3

is: the picture at half its size; one plain block of 16 channels at stride 2; two separable blocks of 32 channels, the first at stride 2; three of
64. `BLOCK:WIDTH[xDEPTH][/STRIDE]`; a stride of ``2x1`` is height × width. The head follows from the teacher.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.plugins import plugin_names
from . import blocks

MAX_STAGES, MAX_WIDTH, MAX_DEPTH, MAX_STRIDE, MAX_SHRINK = 16, 2048, 16, 4, 8
_STAGE = re.compile(r"([a-z_]+):(\d{1,4})(?:x(\d{1,2}))?(?:/(\d)(?:x(\d))?)?")
_EXAMPLE = "Write stages as BLOCK:WIDTHxDEPTH/STRIDE, for instance plain:16/2,separable:32x2/2"


@dataclass(frozen=True, slots=True)
class Stage:
    """`depth` blocks of one kind; the first of them takes the stride."""

    block: str
    width: int
    depth: int = 1
    stride: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        depth = f"x{self.depth}" if self.depth > 1 else ""
        high, wide = self.stride
        stride = "" if (high, wide) == (1, 1) else f"/{high}" if high == wide else f"/{high}x{wide}"
        return f"{self.block}:{self.width}{depth}{stride}"


@dataclass(frozen=True, slots=True)
class StudentSpec:
    """Stages in order, after the resolution was divided by `shrink`."""

    stages: tuple[Stage, ...]
    shrink: int = 1

    def __str__(self) -> str:
        return ",".join([*([f"shrink:{self.shrink}"] if self.shrink > 1 else []), *map(str, self.stages)])


def spec_from_text(text: str) -> StudentSpec:
    """Parse a spec; what it says is built by `student`.

    Raises:
        Rejected: ``student-spec-bad``, naming the part that cannot be read.
    """
    parts = [part.strip() for part in text.split(",")]
    shrink = 1
    if parts[0].startswith("shrink:"):
        number = parts.pop(0).removeprefix("shrink:")
        if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= MAX_SHRINK):
            raise Rejected("student-spec-bad", f"shrink:{number[:20]} is not a factor of 1 to {MAX_SHRINK}", _EXAMPLE)
        shrink = int(number)
    if not parts or len(parts) > MAX_STAGES:
        raise Rejected("student-spec-bad", f"a student has 1 to {MAX_STAGES} stages, this one {len(parts)}", _EXAMPLE)
    return StudentSpec(tuple(_stage(part) for part in parts), shrink)


def _stage(text: str) -> Stage:
    match = _STAGE.fullmatch(text)
    if match is None:
        raise Rejected("student-spec-bad", f"{text[:60]!r} is not a stage of a student", _EXAMPLE)
    block, width, depth, high, wide = match.groups()
    names = plugin_names(blocks)
    if block not in names:
        raise Rejected("student-spec-bad", f"there is no block {block!r}", f"{nearest_hint(block, names)}; there are {', '.join(names)}")
    stage = Stage(block, int(width), int(depth or 1), (int(high or 1), int(wide or high or 1)))
    limits = ((stage.width, MAX_WIDTH), (stage.depth, MAX_DEPTH), (stage.stride[0], MAX_STRIDE), (stage.stride[1], MAX_STRIDE))
    if not all(1 <= value <= limit for value, limit in limits):
        message = f"{text!r} is out of range: width 1 to {MAX_WIDTH}, depth 1 to {MAX_DEPTH}, stride 1 to {MAX_STRIDE}"
        raise Rejected("student-spec-bad", message, _EXAMPLE)
    return stage
