"""Fake quantisation in the target's dialect: what an INT8 engine will do to a student, while it can still learn to live with it.

    q(x) = s · (clip(round(x ÷ s) + z, low, high) − z)        gradient of x inside the range, zero outside (straight-through, Bengio et al. 2013)

Weights are symmetric per output channel, activations per tensor, as `calibration` writes them: unsigned with a zero point, or signed and
symmetric. Ranges of activations follow the extremes of the batches (Jacob et al. 2018). What weighted operations read is quantised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...calibration.writer import Dialect

RANGE_MOMENTUM = 0.1
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class FakeQuant:
    """Quantises as `dialect` does."""

    dialect: Dialect

    def weight(self, weight: Tensor) -> Tensor:
        """Per output channel, within the dialect's weight range."""
        top = self.dialect.weight_max
        largest = weight.detach().flatten(1).abs().amax(1).clamp_min(_TINY)
        scale = (largest / top).reshape(-1, *[1] * (weight.dim() - 1))
        return fake_quantized(weight, scale, torch.zeros_like(scale), -top, top)

    def activation(self, name: str, value: Tensor, stats: dict[str, Tensor], *, is_learning: bool) -> Tensor:
        """Per tensor; while it learns, the range in `stats` follows."""
        key = f"{name}/range"
        if key not in stats:
            stats[key] = _range_of(value)
        elif is_learning:
            stats[key] += RANGE_MOMENTUM * (_range_of(value) - stats[key])
        low, high = stats[key][0].clamp_max(0.0), stats[key][1].clamp_min(0.0)
        if self.dialect.is_unsigned:
            scale = ((high - low) / 255).clamp_min(_TINY)
            return fake_quantized(value, scale, torch.round(-low / scale), 0, 255)
        scale = (torch.maximum(-low, high) / 127).clamp_min(_TINY)
        return fake_quantized(value, scale, torch.zeros_like(scale), -127, 127)


def fake_quantized(value: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
    """`value` rounded to codes `low` … `high` and back, differentiable."""
    clipped = torch.minimum(torch.maximum(value, (low - zero) * scale), (high - zero) * scale)
    rounded = (torch.clamp(torch.round(value / scale) + zero, low, high) - zero) * scale
    return clipped + (rounded - clipped).detach()


def _range_of(value: Tensor) -> Tensor:
    flat = value.detach()
    return torch.stack([flat.amin(), flat.amax()])
