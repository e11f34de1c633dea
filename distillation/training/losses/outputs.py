"""The outputs as they are (Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?"): for outputs of any meaning, boxes and embeddings too.

L = ½ mean ‖z − z'‖² ÷ mean z'²        z the student's output, z' the teacher's
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..network import Seen
from ._base import Loss, Needs, Regressors

_TINY = 1e-8


class OutputsLoss:
    needs = Needs(fixes_output=True)
    formula = "½ mean ‖z − z'‖² ÷ mean z'² (Ba and Caruana 2014, in units of the teacher's mean square)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        return 0.5 * functional.mse_loss(student.output, teacher.output) / teacher.output.square().mean().clamp_min(_TINY)


LOSS: Loss = OutputsLoss()
