"""1×1, then 3×3 in four groups (ResNeXt, Xie et al. 2017, without the shortcut): a single branch."""

from __future__ import annotations

from ._base import Block, Builder


class GroupedBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        mixed = builder.conv(source, width, (1, 1))
        return builder.conv(mixed, width, stride=stride, groups=4)


BLOCK: Block = GroupedBlock()
