"""A narrow 1×1 that feeds a 1×1 and a 3×3 side by side (SqueezeNet, Iandola et al. 2016)."""

from __future__ import annotations

from ._base import Block, Builder


class FireBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        narrow = builder.conv(source, max(1, width // 4), (1, 1), stride=stride)
        return builder.concat(builder.conv(narrow, width - width // 2, (1, 1)), builder.conv(narrow, width // 2)) if width > 1 else narrow


BLOCK: Block = FireBlock()
