"""3×1 and 1×3 in place of 3×3 (Szegedy et al. 2016): a single branch of two thirds of the weights."""

from __future__ import annotations

from ._base import Block, Builder


class FactorizedBlock:
    def build(self, builder: Builder, source: str, width: int, stride: tuple[int, int]) -> str:
        tall = builder.conv(source, width, (3, 1), stride=(stride[0], 1))
        return builder.conv(tall, width, (1, 3), stride=(1, stride[1]))


BLOCK: Block = FactorizedBlock()
