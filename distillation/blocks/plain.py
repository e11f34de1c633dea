"""One 3×3 convolution: a single branch, one launch."""

from __future__ import annotations

from ._base import Block, Builder


class PlainBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        return builder.conv(source, width, stride=stride)


BLOCK: Block = PlainBlock()
