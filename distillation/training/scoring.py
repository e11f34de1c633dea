"""How near a student is to its teacher on samples that it never learned from."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..lessons import Indices, Lessons
from ..record import Measure
from .device import array_of, tensor_of
from .fake_quant import FakeQuant
from .network import Learner

_BATCH = 128


def score_of(learner: Learner, lessons: Lessons, chosen: Indices, measure: Measure, quantizer: FakeQuant | None = None) -> float:
    """The agreement of the largest outputs, or the signal-to-noise ratio in dB; −inf when the outputs are not finite."""
    outputs, aims = [], []
    with torch.no_grad():
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            outputs.append(array_of(learner.run(tensor_of(lessons.inputs[part], learner.device), is_learning=False, quantizer=quantizer).output))
            aims.append(lessons.lesson(part).output)
    own, aim = np.concatenate(outputs), np.concatenate(aims)
    if not np.isfinite(own).all():
        return -math.inf
    if measure == "agreement":
        return float((own.argmax(1) == aim.argmax(1)).mean())
    noise = float(np.square(own - aim, dtype=np.float64).sum())
    return 10 * math.log10(max(float(np.square(aim, dtype=np.float64).sum()), 1e-12) / max(noise, 1e-12))
