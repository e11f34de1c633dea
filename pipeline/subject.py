"""The model that a run is about: its file, card, tensors and datasets, opened and checked once, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.card import ModelCard, card_beside, check_card
from ..core.dataset import Dataset, open_dataset
from ..core.errors import Rejected
from ..core.tensors import TensorSpec
from ..engines.feeds import fixed_batch
from ..engines.model import input_specs, output_specs, read_model
from ..engines.softmax import SoftmaxAxes, final_softmax


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what belongs to it. `classified` is the output that top-1 is read from, None for other tasks."""

    path: Path
    card: ModelCard
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classified: str | None
    softmax: Mapping[str, SoftmaxAxes]

    @property
    def fixed_batch(self) -> int | None:
        return fixed_batch(self.inputs)

    def dataset(self, path: Path) -> Dataset:
        return open_dataset(path, self.card, self.inputs)


def open_subject(path: Path) -> Subject:
    """Read `path` and its card.

    Raises:
        Rejected: what is wrong with the model or its card.
    """
    model = read_model(path, with_weights=False)
    inputs, outputs = input_specs(model), output_specs(model)
    if not inputs:
        raise Rejected("model-unreadable", f"{path.name} has no inputs", "Export it with the inputs that the application feeds")
    card = card_beside(path)
    check_card(card, inputs, outputs)
    classified = None
    if card.task.kind == "classification":
        classified = card.task.output or outputs[0].name
    return Subject(path, card, inputs, outputs, classified, final_softmax(model))


def batch_for(inputs: tuple[TensorSpec, ...], wanted: int) -> int:
    """The batch to run with: the model's own where it prescribes one.

    Raises:
        Rejected: ``batch-fixed`` when more than one was asked for and the model prescribes another.
    """
    fixed = fixed_batch(inputs)
    if fixed is not None and wanted not in {1, fixed}:
        raise Rejected("batch-fixed", f"the model takes batches of {fixed} only", "Leave the batch out, or export the model with a free first axis")
    return fixed or wanted
