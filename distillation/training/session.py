"""One training from its first step or its checkpoint to a verified ONNX model: what the rest of the program calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..filters import Filters
from ..interface import Interface
from ..lessons import Lessons
from ..onnx_form import onnx_of
from ..record import Ending, History
from ..wiring import Wiring
from .checkpoint import read_checkpoint
from .trainer import Trainer, TrainSettings
from .verify import check_export

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """The student as ONNX, how it came to be, and by how much the file differs from what was trained."""

    model: Any
    filters: Filters
    history: History
    ending: Ending
    export_error: float


def train_student(
    wiring: Wiring,
    start: Filters,
    lessons: Lessons,
    interface: Interface,
    settings: TrainSettings,
    *,
    identity: str,
    folder: Path | None,
    resumes: bool,
    threads: int,
    progress: Progress,
    stop: Callable[[], bool],
) -> TrainedStudent:
    """Train, and write the student as a model; `folder` holds the checkpoint.

    Raises:
        Rejected: ``training-diverged``, ``checkpoint-…``.
        Faulty: ``export-differs``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        trainer = Trainer(wiring, start, lessons, settings, identity, folder, progress, stop)
        if resumes:
            assert folder is not None
            trainer.resume(read_checkpoint(folder, identity))
        trained = trainer.run()
        model = onnx_of(wiring, trained.filters, interface)
        error = check_export(model, trainer.learner, lessons, interface)
    finally:
        torch.set_num_threads(before)
    return TrainedStudent(model, trained.filters, trained.history, trained.ending, error)
