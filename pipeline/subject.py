"""The model that a run is about: its file, card, tensors and datasets, opened and checked once, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.card import ModelCard, card_beside, check_card
from ..core.dataset import Dataset, open_dataset
from ..core.errors import Rejected
from ..core.tensors import TensorSpec
from ..engines.fidelity import final_softmax
from ..engines.model import input_specs, output_specs, read_model


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what belongs to it. `classified` is the output that top-1 is read from, None for other tasks."""

    path: Path
    card: ModelCard
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classified: str | None
    softmax: Mapping[str, int]

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the model prescribes, None when it is free."""
        return next((spec.shape[0] for spec in self.inputs if spec.shape and spec.shape[0] is not None), None)

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
