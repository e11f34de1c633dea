"""What a student learns from: samples in memory, labels if there are any, and the teacher's lessons on them.

One sample of `HOLD_OUT_EVERY` is never trained on: what the student is judged by. Lessons are kept when they fit into memory; else the teacher runs
again each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.arrays import open_npy
from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..core.labels import Labels, labels_from_array
from ..engines.feeds import cast_feeds
from ..engines.model import input_specs
from .interface import Interface
from .teacher import Floats, Lesson, Teacher

MIN_SAMPLES = 32
MAX_SAMPLES = 100_000
MAX_INPUT_BYTES = 1 << 30
MAX_KEPT_BYTES = 512 << 20
HOLD_OUT_EVERY = 8
_BATCH = 64
Indices = npt.NDArray[np.intp]
Progress = Callable[[float, str], None]


@dataclass
class Lessons:
    """Samples with their teacher. `offered` counts what the dataset had; `labels` None = there are none."""

    inputs: Floats
    labels: Labels | None
    teacher: Teacher
    offered: int
    _kept: Lesson | None = field(default=None, repr=False)

    @cached_property
    def held_out(self) -> Indices:
        """The samples that the student is judged by: drawn by chance, the same ones for every student."""
        drawn = np.random.default_rng(len(self.inputs)).permutation(len(self.inputs))
        return np.sort(drawn[: len(self.inputs) // HOLD_OUT_EVERY])

    @cached_property
    def trained_on(self) -> Indices:
        return np.setdiff1d(np.arange(len(self.inputs)), self.held_out)

    def lesson(self, chosen: Indices) -> Lesson:
        """What the teacher makes of the samples `chosen`."""
        kept = self._kept
        if kept is None:
            return self.teacher.lesson(self.inputs[chosen])
        return Lesson(kept.output[chosen], tuple(tap[chosen] for tap in kept.taps))

    def keep(self, progress: Progress = lambda _share, _note: None, cancel: Callable[[], bool] = lambda: False) -> bool:
        """Run the teacher over all samples once, if what it makes fits into memory; returns whether it does."""
        total = len(self.inputs)
        if self._kept is not None or self.teacher.lesson(self.inputs[:1]).nbytes * total > MAX_KEPT_BYTES:
            return self._kept is not None
        parts = []
        for start in range(0, total, _BATCH):
            if cancel():
                raise Unfit("cancelled", "the distillation was cancelled", "Start it again")
            progress(start / total, "the teacher is at work")
            parts.append(self.teacher.lesson(self.inputs[start : start + _BATCH]))
        taps = tuple(np.concatenate(values) for values in zip(*(part.taps for part in parts), strict=True))
        self._kept = Lesson(np.concatenate([part.output for part in parts]), taps)
        return True


def labelled(dataset: Dataset, labels: Path | None) -> Dataset:
    """`dataset` with the labels of that ``.npy`` for its own; None = as it is.

    Raises:
        Rejected: ``dataset-wrong-labels``, ``dataset-unreadable``.
    """
    return dataset if labels is None else replace(dataset, labels=labels_from_array(labels.name, open_npy(labels), dataset.samples))


def read_lessons(dataset: Dataset, model: object, interface: Interface, teacher: Teacher, *, labels: Path | None = None) -> Lessons:
    """Read up to `MAX_SAMPLES` samples, fewer when they are large. `labels` is an ``.npy`` of integers that replaces the dataset's own.

    Raises:
        Rejected: ``too-few-samples``, ``dataset-wrong-labels`` and what the dataset itself refuses.
    """
    if dataset.samples < MIN_SAMPLES:
        message = f"{dataset.name} has {dataset.samples} samples, a student needs at least {MIN_SAMPLES}"
        raise Rejected("too-few-samples", message, "Give more samples, with labels or without: some hundreds at least")
    known = labelled(dataset, labels).labels
    if known is not None and interface.classes is not None and known.max() >= interface.classes:
        message = f"there is the label {known.max()}, the teacher has the classes 0 to {interface.classes - 1}"
        raise Rejected("dataset-wrong-labels", message, "Label with the teacher's own classes, counted from 0")
    specs = input_specs(model)
    parts: list[Floats] = []
    held_bytes = 0
    for batch in dataset.batches(_BATCH, stop=min(MAX_SAMPLES, dataset.samples)):
        values = cast_feeds(batch.feeds, specs)[interface.input_name]
        held_bytes += values.nbytes
        if parts and held_bytes > MAX_INPUT_BYTES:
            break
        parts.append(values)
    inputs = np.concatenate(parts)
    return Lessons(inputs, None if known is None else known[: len(inputs)], teacher, dataset.samples)
