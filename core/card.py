"""Model cards: what a model's tensors expect (DESIGN §5). A card is ``NAME.toml`` beside ``NAME.onnx``; no card means arrays as they are.

Rules: unknown keys are refused with the nearest known one; a card that does not fit its model is refused before any sample is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from .errors import Rejected
from .nearest import nearest_hint
from .tensors import TensorSpec
from .toml import decode_toml

MIN_STD = 1e-6
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
_FIX = "Correct the model card; its format is in the documentation"


class InputCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One input. `size` is (height, width); `mean` and `std` are in 0..255 units, in the tensor's channel order."""

    kind: Literal["image", "array"] = "array"
    color: Literal["RGB", "BGR", "GRAY"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shape_min: tuple[int, ...] | None = None
    shape_opt: tuple[int, ...] | None = None
    shape_max: tuple[int, ...] | None = None

    @property
    def channels(self) -> int:
        return _CHANNELS[self.color]


class TaskCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model is for; `output` is the tensor that top-1 is read from, None = the only one."""

    kind: Literal["classification", "other"] = "other"
    output: str | None = None


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Inputs by name, and the task. An input that is not named is an ``array``."""

    inputs: dict[str, InputCard] = {}
    task: TaskCard = TaskCard()

    def input_card(self, name: str) -> InputCard:
        return self.inputs.get(name, InputCard())


def card_beside(model: Path) -> ModelCard:
    """The card of `model`, or the empty card when there is none."""
    path = model.with_suffix(".toml")
    return card_from_toml(path) if path.is_file() else ModelCard()


def card_from_toml(path: Path) -> ModelCard:
    """Read a card.

    Raises:
        Rejected: ``card-unreadable``, ``card-unknown-key`` or ``card-bad-value``.
    """
    table = decode_toml(path, what="card")
    _check_keys(table, ModelCard, path.name)
    inputs = table.get("inputs", {})
    if isinstance(inputs, dict):
        for fields in inputs.values():
            if isinstance(fields, dict):
                _check_keys(fields, InputCard, path.name)
    task = table.get("task", {})
    if isinstance(task, dict):
        _check_keys(task, TaskCard, path.name)
    try:
        card = msgspec.convert(table, ModelCard, strict=True)
    except msgspec.ValidationError as error:
        raise Rejected("card-bad-value", f"the card {path.name} does not fit: {error}", _FIX) from error
    for name, entry in card.inputs.items():
        _check_input(name, entry)
    return card


def _check_keys(fields: dict[str, object], kind: type[msgspec.Struct], file: str) -> None:
    known = [field.name for field in msgspec.structs.fields(kind)]
    for key in fields:
        if key not in known:
            raise Rejected("card-unknown-key", f"the card {file} has an unknown key {key!r}", nearest_hint(key, known))


def _check_input(name: str, card: InputCard) -> None:
    def refuse(what: str) -> Rejected:
        return Rejected("card-bad-value", f"the card's input {name!r} {what}", _FIX)

    if card.kind == "image":
        if card.size is None or not all(1 <= side <= 16384 for side in card.size):
            raise refuse("is an image and needs size = [height, width] of 1 to 16384")
        for field, values in (("mean", card.mean), ("std", card.std)):
            if len(values) not in {0, 1, card.channels} or not all(math.isfinite(value) for value in values):
                raise refuse(f"needs {card.channels} finite numbers in {field} for {card.color}")
        if any(value < MIN_STD for value in card.std):
            raise refuse(f"needs a std of at least {MIN_STD}")
    shapes = [shape for shape in (card.shape_min, card.shape_opt, card.shape_max) if shape is not None]
    if len(shapes) not in {0, 3}:
        raise refuse("needs all of shape_min, shape_opt and shape_max, or none")
    if len({len(shape) for shape in shapes}) > 1:
        raise refuse("needs shape_min, shape_opt and shape_max of equal rank")
    if not all(1 <= low <= middle <= high for low, middle, high in zip(*shapes, strict=True)):
        raise refuse("needs 1 <= shape_min <= shape_opt <= shape_max on every axis")


def check_card(card: ModelCard, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Hold `card` against a model's tensors.

    Raises:
        Rejected: ``card-mismatch``.
    """
    names = {spec.name: spec for spec in inputs}
    for name, entry in card.inputs.items():
        if name not in names:
            raise Rejected("card-mismatch", f"the card names an input {name!r} that the model does not have", nearest_hint(name, names))
        if entry.kind == "image":
            _check_image_shape(names[name], entry)
        for shape in (entry.shape_min, entry.shape_opt, entry.shape_max):
            if shape is not None:
                _check_profile(names[name], shape)
    output = card.task.output
    if output is not None and output not in {spec.name for spec in outputs}:
        known = [spec.name for spec in outputs]
        raise Rejected("card-mismatch", f"the card names an output {output!r} that the model does not have", nearest_hint(output, known))
    if card.task.kind == "classification" and output is None and len(outputs) > 1:
        raise Rejected("card-mismatch", "the model has several outputs and the card does not say which one classifies", "Set task.output")


def _check_image_shape(spec: TensorSpec, card: InputCard) -> None:
    assert card.size is not None
    expected = (card.channels, *card.size) if card.layout == "NCHW" else (*card.size, card.channels)
    if len(spec.shape) != 4 or any(have not in {None, want} for have, want in zip(spec.shape[1:], expected, strict=True)):
        message = f"the card makes images of {_words(expected)} for {spec.name!r}, the model expects {_words(spec.shape)}"
        raise Rejected("card-mismatch", message, "Correct size, layout or color in the model card")


def _check_profile(spec: TensorSpec, shape: Sequence[int]) -> None:
    if len(spec.shape) != len(shape) or any(have not in {None, want} for have, want in zip(spec.shape, shape, strict=True)):
        message = f"the card's shapes for {spec.name!r} hold {_words(shape)}, the model has {_words(spec.shape)}"
        raise Rejected("card-mismatch", message, "Change only axes that are dynamic in the model")


def _words(shape: Sequence[int | None]) -> str:
    return "x".join("?" if axis is None else str(axis) for axis in shape) or "one number"
