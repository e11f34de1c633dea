"""A read-only view of a normalised model: who makes and who uses each tensor, which tensors are constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Graph:
    """The top-level graph of `model`; nested graphs only count as users of what they capture."""

    model: Any

    @property
    def nodes(self) -> list[Any]:
        return list(self.model.graph.node)

    @cached_property
    def initializers(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def producers(self) -> dict[str, Any]:
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[Any]]:
        users: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
        return users

    @cached_property
    def inputs(self) -> list[str]:
        return [value.name for value in self.model.graph.input]

    @cached_property
    def outputs(self) -> set[str]:
        return {value.name for value in self.model.graph.output}

    @cached_property
    def captured(self) -> set[str]:
        """Names that nested graphs may read: never renamed or quantised."""
        return captured_names(self.model.graph)

    @cached_property
    def names(self) -> set[str]:
        """Every name of a tensor, nested graphs included."""
        names = {name for node in self.model.graph.node for name in (*node.input, *node.output)}
        return names | set(self.inputs) | self.outputs | set(self.initializers) | self.captured

    @cached_property
    def float_tensors(self) -> set[str]:
        """Tensors known to be float32; of unknown ones none."""
        values = (*self.model.graph.value_info, *self.model.graph.input, *self.model.graph.output)
        return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The value of an initializer, or None."""
        tensor = self.initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def sole_consumer(self, name: str) -> Any | None:
        """The one node that uses `name`, when nothing else does."""
        users = self.consumers.get(name, [])
        return users[0] if len(users) == 1 and name not in self.outputs and name not in self.captured else None


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of an attribute of `node`, or `default`."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def clip_bounds(graph: Graph, node: Any) -> tuple[float, float] | None:
    """The bounds of a Relu or Clip node; None for other nodes and for bounds that are not constant."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if node.op_type != "Clip":
        return None
    bounds = []
    for position, default in ((1, float("-inf")), (2, float("inf"))):
        if len(node.input) <= position or not node.input[position]:
            bounds.append(default)
            continue
        value = graph.constant(node.input[position])
        if value is None:
            return None
        bounds.append(float(np.asarray(value).reshape(-1)[0]))
    return bounds[0], bounds[1]


def nested_graphs(graph: Any) -> Iterator[Any]:
    """The graphs directly inside the nodes of `graph` (If, Loop, Scan)."""
    for node in graph.node:
        yield from graphs_within(node)


def graphs_within(node: Any) -> Iterator[Any]:
    """The graphs directly inside `node`."""
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield entry.g
        yield from entry.graphs


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators that `model` uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1)


def captured_names(graph: Any) -> set[str]:
    """What nested graphs, however deep, read by name; names of their own among them."""
    names: set[str] = set()
    for inner in nested_graphs(graph):
        names.update(name for node in inner.node for name in node.input)
        names.update(value.name for value in inner.output)
        names |= captured_names(inner)
    return names
