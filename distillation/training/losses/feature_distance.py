"""The distance of the last features (Li, Jin and Yan 2017, "Mimicking Very Efficient Network for Object Detection", equation 1).

    L = 1 ÷ 2N · Σ ‖u − r(v)‖²        v the student's deepest activations, u the teacher's, r a 1×1 regressor, N their number

In units of the teacher's mean square.
"""

from __future__ import annotations

from torch import Tensor

from ..network import Seen
from ._base import Loss, Needs, Regressors, pointwise, translated_error


class FeatureDistanceLoss:
    needs = Needs(taps=True)
    formula = "1/2N Σ ‖u − r(v)‖² of the deepest activations (Li et al. 2017)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {"feature_distance/last": pointwise(student[-1], teacher[-1], seed)}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        return translated_error(student.taps[-1], teacher.taps[-1], regressors["feature_distance/last"])


LOSS: Loss = FeatureDistanceLoss()
