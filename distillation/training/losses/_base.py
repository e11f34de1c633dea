"""The seam of losses: one module of `losses` has a module-level ``LOSS`` object of the `Loss` protocol.

A loss compares what the student makes of a batch with what the teacher makes of it. It is a mean over samples, is differentiable in the student, and,
unless it reads labels, is zero when both make the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..network import Seen

Regressors = Mapping[str, Tensor]
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class Needs:
    """What a loss can only be used with. `fixes_output` when it alone tells the student what to put out."""

    classes: bool = False
    labels: bool = False
    taps: bool = False
    fixes_output: bool = False


class Loss(Protocol):
    """One way to learn from a teacher."""

    @property
    def needs(self) -> Needs: ...

    @property
    def formula(self) -> str:
        """What is computed, and who published it."""
        ...

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        """Parameters that are learned along and thrown away; from the channels of the taps of both."""
        ...

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        """The loss of one batch."""
        ...


def pointwise(channels_in: int, channels_out: int, seed: int) -> Tensor:
    """A 1×1 regressor: the identity where nothing has to be translated, else small random values."""
    if channels_in == channels_out:
        return torch.eye(channels_in)[:, :, None, None].clone().requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(channels_out, channels_in, 1, 1, generator=generator) / math.sqrt(channels_in)).requires_grad_(True)


def same_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the smaller of their picture sizes, by means over windows."""
    if one.shape[2:] == other.shape[2:]:
        return one, other
    size = [min(have, want) for have, want in zip(one.shape[2:], other.shape[2:], strict=True)]
    return functional.adaptive_avg_pool2d(one, size), functional.adaptive_avg_pool2d(other, size)


def translated_error(student: Tensor, teacher: Tensor, regressor: Tensor) -> Tensor:
    """½ ‖u − r(v)‖² per element, in units of the teacher's mean square: then depths of different strength weigh the same."""
    v, u = same_size(student, teacher)
    return 0.5 * functional.mse_loss(functional.conv2d(v, regressor), u) / u.square().mean().clamp_min(_TINY)
