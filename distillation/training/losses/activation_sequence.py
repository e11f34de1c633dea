"""The teacher's activation sequence: which samples make which pattern of neurons fire, depth after depth, and how that changes on the way.

For a batch of n samples and the depths l = 1 … L (the taps, then the output):

    a_lic = mean over positions of x_lic, minus its mean over the batch        how much more neuron c fires for sample i than is its habit
    S_l   = cosines between the rows aᵢ of all pairs of samples, n × n         the pattern, without saying which neuron is which
    D_l   = S_{l+1} − S_l                                                      the order: what that depth does to the pattern
    L     = mean over l of 1/n² ‖S_l − S'_l‖²  +  mean over l of 1/n² ‖D_l − D'_l‖²

Widths, neuron order and rotations drop out of S, so that structures need not match; there is no softmax, and an output of any meaning is one
more depth of the sequence. It fixes the output up to a rotation: where no other loss does, the last layer is solved in closed form towards the
teacher's output.

It draws on similarity-preserving distillation (Tung and Mori 2019: S at one depth, without the habit), on the flow of solution procedure
(Yim et al. 2017: what happens between two depths, but by channels, so of equal widths), on centred kernel alignment (Kornblith et al. 2019: why to
subtract the habit), and on the survey's open question (Goel et al. 2020) how to learn the sequence in which a teacher's neurons fire.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..network import Seen
from ._base import Loss, Needs, Regressors


class ActivationSequenceLoss:
    needs = Needs(taps=True)
    formula = "mean 1/n² ‖S_l − S'_l‖² + mean 1/n² ‖D_l − D'_l‖², S_l the firing pattern between samples at depth l, D_l = S_{l+1} − S_l (ours)"

    def regressors(self, student: tuple[int, ...], teacher: tuple[int, ...], seed: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, student: Seen, teacher: Seen, labels: Tensor | None, regressors: Regressors) -> Tensor:
        own, aim = sequence(student), sequence(teacher)
        pattern = functional.mse_loss(own, aim)
        return pattern + functional.mse_loss(own.diff(dim=0), aim.diff(dim=0))


def sequence(seen: Seen) -> Tensor:
    """The patterns S of all depths, the output's last: depths × n × n."""
    return torch.stack([*(pattern(tap.mean((2, 3))) for tap in seen.taps), pattern(seen.output)])


def pattern(activations: Tensor) -> Tensor:
    """Cosines between samples of how much more than usual their neurons fire."""
    unit = functional.normalize(activations - activations.mean(0, keepdim=True), dim=1)
    return unit @ unit.T


LOSS: Loss = ActivationSequenceLoss()
