"""What a student must look like from outside so that it can take the teacher's place: the same input, one output of the same name and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..core.card import ModelCard
from ..core.errors import Rejected
from ..core.nearest import nearest_hint
from ..core.tensors import TensorSpec
from ..engines.model import input_specs, output_specs
from ..engines.softmax import final_softmax
from .wiring import Shape

MAX_OUTPUTS = 65_536


@dataclass(frozen=True, slots=True)
class Interface:
    """`shape` is channels × height × width of one input sample, `output_shape` one output sample's. `batch` None = any number of samples.

    `classes` is their number for a classifier, None for other tasks; `softmax_axis` the axis that the teacher's output leaves through a Softmax over.
    """

    input_name: str
    shape: Shape
    output_name: str
    output_shape: tuple[int, ...]
    batch: int | None
    classes: int | None
    softmax_axis: int | None

    @property
    def outputs(self) -> int:
        return math.prod(self.output_shape)

    @property
    def can_soften(self) -> bool:
        """Whether the output is scores of classes: softened targets exist for nothing else."""
        return self.classes is not None


def interface_of(model: Any, card: ModelCard, shapes: dict[str, tuple[int, ...]], output: str | None = None) -> Interface:
    """The interface of a normalised teacher; `shapes` are its tensors' at batch 1. `output` names what shall be learned, None = what the card says.

    Raises:
        Rejected: ``teacher-outputs``, ``teacher-input``, ``teacher-output``.
    """
    inputs, outputs = input_specs(model), output_specs(model)
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs[:4])
        raise Rejected("teacher-input", f"the teacher has {len(inputs)} inputs: {names}", "Students have one input; split the model")
    learned = _learned(outputs, card, output)
    axes = final_softmax(model).get(learned.name)
    made = shapes.get(learned.name)
    if made is None or len(made) < 2:
        raise Rejected("teacher-output", f"the shape of {learned.name!r} depends on the data", "Learn another output: --output NAME")
    if math.prod(made[1:]) > MAX_OUTPUTS and len(made) != 4:
        raise Rejected("teacher-output", f"{learned.name!r} has {math.prod(made[1:])} numbers per sample", f"At most {MAX_OUTPUTS} can be learned")
    is_classifier = card.task.kind == "classification" and card.task.output in {None, learned.name}
    spec = inputs[0]
    return Interface(
        spec.name,
        _input_shape(spec, shapes),
        learned.name,
        tuple(made[1:]),
        spec.shape[0],
        math.prod(made[1:]) if is_classifier else None,
        None if axes is None else axes.first % len(made),
    )


def _learned(outputs: tuple[TensorSpec, ...], card: ModelCard, output: str | None) -> TensorSpec:
    named = output or card.task.output
    by_name = {spec.name: spec for spec in outputs}
    if named is None and len(outputs) > 1:
        message = f"the teacher has {len(outputs)} outputs ({', '.join(list(by_name)[:4])}) and no card says which one shall be learned"
        raise Rejected("teacher-outputs", message, "Name it: --output NAME, or task.output in the model card")
    if named is not None and named not in by_name:
        raise Rejected("teacher-outputs", f"the teacher has no output {named!r}", nearest_hint(named, by_name))
    return outputs[0] if named is None else by_name[named]


def _input_shape(spec: TensorSpec, shapes: dict[str, tuple[int, ...]]) -> Shape:
    shape = shapes.get(spec.name)
    if spec.dtype != "float32" or len(spec.shape) != 4 or shape is None:
        known = "×".join("?" if axis is None else str(axis) for axis in spec.shape)
        message = f"the teacher's input {spec.name!r} is {spec.dtype} of {known}"
        raise Rejected("teacher-input", message, "Students read float32 of samples × channels × height × width, all but the samples fixed")
    return shape[1], shape[2], shape[3]
