"""Hints at several depths (Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3).

    L = mean over depths of ½ ‖u(x) − r(v(x))‖²        u the teacher's hint layer, v the student's guided layer, r a convolutional regressor

They train hints in a stage before the softened targets; here the weights of the losses mix both. Per element, in units of the teacher's mean square.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..network import Seen
from ._base import Loss, Needs, Regressors, pointwise, translated_error


class HintsLoss:
    needs = Needs(taps=True)
    formula = "mean over depths of ½ ‖u − r(v)‖² (Romero et al. 2015)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        pairs = enumerate(zip(student, teacher, strict=True))
        return {f"hints/{depth}": pointwise(own, other, seed + depth) for depth, (own, other) in pairs}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        pairs = enumerate(zip(student.taps, teacher.taps, strict=True))
        return torch.stack([translated_error(own, other, regressors[f"hints/{depth}"]) for depth, (own, other) in pairs]).mean()


LOSS: Loss = HintsLoss()
