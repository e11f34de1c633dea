"""1×1 to a half, 3×3, 1×1 back, beside a shortcut (He et al. 2016)."""

from __future__ import annotations

from ._base import Block, Builder


class BottleneckBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        beside = builder.shortcut(source, width, stride)
        inner = builder.conv(source, max(1, width // 2), (1, 1))
        inner = builder.conv(inner, max(1, width // 2), stride=stride)
        inner = builder.conv(inner, width, (1, 1), is_active=False)
        return builder.add(inner, beside)


BLOCK: Block = BottleneckBlock()
