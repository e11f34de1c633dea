"""Softened targets (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").

    L = T² · mean Σ p' (log p' − log p)        p = softmax(z ÷ T), p' = softmax(z' ÷ T)

The factor T² keeps the gradients' size as T changes (their section 2). The entropy of p' is subtracted, which changes no gradient: an identical
student has zero. It exists for scores of classes alone.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..network import Seen
from ._base import Loss, Needs, Regressors

TEMPERATURE = 4.0


class HintonLoss:
    needs = Needs(classes=True, fixes_output=True)
    formula = "T² · KL( softmax(z' ÷ T) ‖ softmax(z ÷ T) ), T = 4 (Hinton et al. 2015)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        own = functional.log_softmax(student.output / TEMPERATURE, 1)
        aim = functional.log_softmax(teacher.output / TEMPERATURE, 1)
        return TEMPERATURE**2 * functional.kl_div(own, aim, reduction="batchmean", log_target=True)


LOSS: Loss = HintonLoss()
