"""What a search decides: a form for a layer, a width for coupled channels, float for a layer; and what is timed for it. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import msgspec

from ...core.digest import digest_of_bytes
from ..network import Geometry
from ..repair.rebuild import Choice

Setting = Literal["codes", "island", "float"]
"""In what a layer runs: integers between integers; float between integers, which pays for two conversions; float between floats."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What is timed: layers in a row at one input size. An empty chain is an inference that computes nothing: what a launch costs.

    `is_sparse`: two weights of each four along the inputs are zero.
    """

    chain: tuple[Geometry, ...]
    size: tuple[int, ...]
    setting: Setting
    is_sparse: bool = False

    @property
    def key(self) -> str:
        return digest_of_bytes(msgspec.json.encode(self))

    @property
    def weight_bytes(self) -> int:
        """As it is stored: one byte per weight in codes, four in float."""
        return sum(piece.params for piece in self.chain) * (1 if self.setting == "codes" else 4)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole network's choices; what is not named stays as it is. `levels` by the layers that make the channels."""

    forms: Mapping[str, Choice] = field(default_factory=lambda: MappingProxyType({}))
    levels: Mapping[tuple[str, ...], int] = field(default_factory=lambda: MappingProxyType({}))
    floats: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether everything stays as it is."""
        return not (self.forms or self.levels or self.floats)

    @property
    def text(self) -> str:
        """The same for equal plans, whatever the order in which choices were made."""
        forms = sorted(f"{layer}={choice.form.name}{choice.rank}" for layer, choice in self.forms.items())
        levels = sorted(f"{'+'.join(makers)}={level}" for makers, level in self.levels.items())
        return ";".join((*forms, *levels, *sorted(self.floats)))
