"""Whether the ONNX file says what the student in PyTorch says, on samples: asked before the file leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...core.errors import Faulty
from ...engines.ort.runner import open_on_cpu
from ..interface import Interface
from ..lessons import Lessons
from .device import array_of, tensor_of
from .network import Learner

SAMPLES = 16
TOLERANCE = 1e-3


def check_export(model: Any, learner: Learner, lessons: Lessons, interface: Interface) -> float:
    """The largest difference between both, as a share of the largest output.

    Raises:
        Faulty: ``export-differs``.
    """
    size = interface.batch or SAMPLES
    # A student of fixed batch takes whole batches: samples are repeated until they fill one.
    chosen = np.resize(lessons.held_out, -(-SAMPLES // size) * size)
    inputs = lessons.inputs[chosen]
    with torch.no_grad():
        aim = learner.run(tensor_of(inputs, learner.device), is_learning=False).output
        if interface.softmax_axis is not None:
            aim = torch.softmax(aim.reshape(len(inputs), *interface.output_shape), interface.softmax_axis).flatten(1)
    with open_on_cpu(model.SerializeToString(), "the student", threads=1) as runner:
        parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]
        made = [runner.infer({interface.input_name: part})[interface.output_name].reshape(size, -1) for part in parts]
    own = np.concatenate(made)
    known = array_of(aim)
    difference = float(np.abs(own - known).max() / max(float(np.abs(known).max()), 1e-12))
    if not difference <= TOLERANCE:
        message = f"the student's ONNX file differs from what was trained by {difference:.1e} of its largest output"
        raise Faulty("export-differs", message, "Report this with the student's spec; the checkpoint is kept")
    return difference
