"""1×1 to four times the channels, depthwise 3×3, 1×1 without activation; a shortcut where the shape stays (MobileNetV2, Sandler et al. 2018)."""

from __future__ import annotations

from ._base import Block, Builder


class InvertedBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        wide = builder.conv(source, 4 * builder.shapes[source][0], (1, 1))
        made = builder.conv(builder.depthwise(wide, stride=stride), width, (1, 1), is_active=False)
        return builder.add(made, source, is_active=False) if builder.shapes[made] == builder.shapes[source] else made


BLOCK: Block = InvertedBlock()
