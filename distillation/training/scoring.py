"""How near a student is to its teacher on samples that it never learned from."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from ..filters import Floats
from ..lessons import Indices, Lessons
from ..record import Measure
from .device import array_of, tensor_of
from .fake_quant import FakeQuant
from .losses.hinton import TEMPERATURE
from .network import Learner

_BATCH = 128


def score_of(learner: Learner, lessons: Lessons, chosen: Indices, measure: Measure, quantizer: FakeQuant | None = None) -> float:
    """The agreement of the largest outputs, or the signal-to-noise ratio in dB; −inf when the outputs are not finite."""
    own, aim = _outputs(learner, lessons, chosen, quantizer)
    if not np.isfinite(own).all():
        return -math.inf
    return float((own.argmax(1) == aim.argmax(1)).mean()) if measure == "agreement" else _sqnr_db(own, aim)


def nearness_of(learner: Learner, lessons: Lessons, chosen: Indices, measure: Measure) -> float:
    """The same question, answered without counting: of scores of classes −KL of the softened ones, which few samples tell; −inf as above."""
    own, aim = _outputs(learner, lessons, chosen, None)
    if not np.isfinite(own).all():
        return -math.inf
    if measure == "sqnr_db":
        return _sqnr_db(own, aim)
    student, teacher = (torch.from_numpy(values.reshape(len(values), -1)) / TEMPERATURE for values in (own, aim))
    divergence = functional.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)
    return -float(divergence)


def _outputs(learner: Learner, lessons: Lessons, chosen: Indices, quantizer: FakeQuant | None) -> tuple[Floats, Floats]:
    """The student's and the teacher's."""
    outputs, aims = [], []
    with torch.no_grad():
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            outputs.append(array_of(learner.run(tensor_of(lessons.inputs[part], learner.device), is_learning=False, quantizer=quantizer).output))
            aims.append(lessons.lesson(part).output)
    return np.concatenate(outputs), np.concatenate(aims)


def _sqnr_db(own: Floats, aim: Floats) -> float:
    noise = float(np.square(own - aim, dtype=np.float64).sum())
    return 10 * math.log10(max(float(np.square(aim, dtype=np.float64).sum()), 1e-12) / max(noise, 1e-12))
