"""The labels themselves, without any teacher: what distillation is compared with.

L = −mean log softmax(z)[label]
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..network import Seen
from ._base import Loss, Needs, Regressors


class LabelsLoss:
    needs = Needs(classes=True, labels=True, fixes_output=True)
    formula = "cross entropy with the labels"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        assert labels is not None
        return functional.cross_entropy(student.output, labels)


LOSS: Loss = LabelsLoss()
