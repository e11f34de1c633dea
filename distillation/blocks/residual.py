"""Two 3×3 convolutions beside a shortcut (He et al. 2016, basic block)."""

from __future__ import annotations

from ._base import Block, Builder


class ResidualBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        beside = builder.shortcut(source, width, stride)
        inner = builder.conv(source, width, stride=stride)
        inner = builder.conv(inner, width, is_active=False)
        return builder.add(inner, beside)


BLOCK: Block = ResidualBlock()
