"""Compressed filters: k×k convolutions written as depthwise k×k and 1×1, fitted to the original's responses."""

from __future__ import annotations

from ..base import Context, Gain, PassOptions, PassResult, Trait
from ..forms.depthwise import FORM
from ..network import Network
from .factorize import factorize


class DepthwiseOptions(PassOptions, frozen=True, kw_only=True):
    """The share of MACs that shall be left."""

    macs_ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.macs_ratio < 1:
            raise ValueError(f"macs_ratio = {self.macs_ratio} is out of range: 0 < macs_ratio < 1")


class DepthwiseSeparable:
    """The pass ``depthwise_separable``."""

    options = DepthwiseOptions
    requires: frozenset[Trait] = frozenset({"folded"})
    forbids: frozenset[Trait] = frozenset({"shared-weights", "sparse-2-4"})
    ensures: frozenset[Trait] = frozenset()
    gain: Gain = "time"
    needs_data = True

    def unavailable(self) -> str | None:
        return None

    def call(self, network: Network, options: DepthwiseOptions, context: Context) -> PassResult:
        return factorize(network, [FORM], options.macs_ratio, None, 1, context)


PASS = DepthwiseSeparable()
