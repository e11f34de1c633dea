"""A final Softmax: where a model has one, and the same model without it.

Probabilities hide differences of the logits behind saturation, so fidelity is measured on the logits. The Softmax may be followed by nodes
that only name, cast or reshape its result: opset converters wrap it so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import read_model

_RENAMES = frozenset({"Identity", "Cast"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class SoftmaxAxes:
    """Over which axes of the output the probabilities add up to one: `first` alone, or it and all after it."""

    first: int
    through_last: bool

    def of(self, rank: int) -> tuple[int, ...]:
        first = self.first % rank
        return tuple(range(first, rank)) if self.through_last else (first,)


def final_softmax(model: Any) -> dict[str, SoftmaxAxes]:
    """The graph outputs of `model` (an ``onnx.ModelProto``) that leave through a Softmax, with its axes.

    Reshaped outputs count where the Softmax ran over a matrix of samples by classes.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=13)
    producers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for value in model.graph.output:
        chain = _chain(producers, value.name)
        if not chain:
            continue
        softmax = chain[0]
        given = next((int(attribute.i) for attribute in softmax.attribute if attribute.name == "axis"), None)
        # Before opset 13 a Softmax flattens: it runs over its axis and all after it.
        flattens = opset < 13
        axes = SoftmaxAxes((1 if flattens else -1) if given is None else given, through_last=flattens)
        if any(node.op_type in _RESHAPES for node in chain[1:]):
            before = producers.get(softmax.input[0])
            is_matrix = axes.through_last or (before is not None and before.op_type == "Flatten")
            if not is_matrix:
                continue
            axes = SoftmaxAxes(1, through_last=True)
        found[value.name] = axes
    return found


def write_logits_model(model: Path, target: Path) -> Path | None:
    """Write `model` to `target` with logits where a final Softmax was. Names and types of outputs stay.

    What else reads the probabilities inside the model still does. None when it has no final Softmax, or is too large for one file.
    """
    proto = read_model(model)
    graph = proto.graph
    producers = {output: node for node in graph.node for output in node.output}
    chains = {name: _chain(producers, name) for name in final_softmax(proto)}
    for name, chain in chains.items():
        kind = next(value.type.tensor_type.elem_type for value in graph.output if value.name == name)
        logits = chain[0].input[0]
        inside = f"{name}/probabilities"
        for node in graph.node:
            _rename(node.input, name, inside)
            _rename(node.output, name, inside)
        for number, node in enumerate(chain[1:]):
            twin = graph.node.add()
            twin.CopyFrom(node)
            twin.name, twin.input[0], twin.output[0] = f"{name}/logits/{number}", logits, f"{name}/logits/{number}"
            logits = twin.output[0]
        last = graph.node.add(op_type="Cast", name=f"{name}/logits", input=[logits], output=[name])
        last.attribute.add(name="to", type=2, i=kind)
    if not chains:
        return None
    try:
        # The weights are inside the copy, also those that the model keeps beside it.
        target.write_bytes(proto.SerializeToString())
    except ValueError:
        return None
    return target


def _chain(producers: dict[str, Any], name: str) -> list[Any]:
    """The nodes from the Softmax to the output `name`, in order; empty when none feeds it."""
    chain: list[Any] = []
    while (node := producers.get(name)) is not None:
        chain.insert(0, node)
        if node.op_type == "Softmax":
            return chain
        if node.op_type not in _RENAMES | _RESHAPES:
            break
        name = node.input[0]
    return []


def _rename(names: Any, old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new
