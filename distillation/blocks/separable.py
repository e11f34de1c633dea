"""Depthwise 3×3 and pointwise 1×1 (MobileNet, Howard et al. 2017): a single branch."""

from __future__ import annotations

from ._base import Block, Builder


class SeparableBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        return builder.conv(builder.depthwise(source, stride=stride), width, (1, 1))


BLOCK: Block = SeparableBlock()
