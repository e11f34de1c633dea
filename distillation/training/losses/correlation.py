"""Correlation congruence between the samples of a batch (Peng et al. 2019, "Correlation Congruence for Knowledge Distillation", equations 5 to 9).

    C(F)ᵢⱼ = exp(−2γ) Σ_{p ≤ P} (2γ)ᵖ ÷ p! · (fᵢ · fⱼ)ᵖ        the Taylor expansion of the Gaussian kernel exp(−γ ‖fᵢ − fⱼ‖²), P = 2, γ = 0.4
    L = 1 ÷ n² · ‖C(F') − C(F)‖²                                f: deepest features, their means over positions, of length one

No regressor: n × n numbers are compared, whatever the widths. The kernel fixes features up to a rotation, not the output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..network import Seen
from ._base import Loss, Needs, Regressors

GAMMA, ORDER = 0.4, 2


class CorrelationLoss:
    needs = Needs(taps=True)
    formula = "1/n² ‖C(F') − C(F)‖², C the Gaussian kernel between samples to second order (Peng et al. 2019)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        return functional.mse_loss(congruence(student.taps[-1]), congruence(teacher.taps[-1]))


def congruence(features: Tensor) -> Tensor:
    """The kernel between samples."""
    unit = functional.normalize(features.mean((2, 3)), dim=1)
    cosine = unit @ unit.T
    terms = [(2 * GAMMA) ** power / math.factorial(power) * cosine**power for power in range(ORDER + 1)]
    return math.exp(-2 * GAMMA) * torch.stack(terms).sum(0)


LOSS: Loss = CorrelationLoss()
