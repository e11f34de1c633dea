"""The seam of rewrites: one module is one rewrite, with a module-level ``REWRITE`` object.

Rules:
- a rewrite is exact: every output is the same number, so that only time decides whether it stays;
- it takes a finished model, with or without Q/DQ, and returns a new one; it never changes what it was given;
- the model's inputs and outputs (names, types, shapes) stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..graph import Graph


class Rewrite(Protocol):
    """One exact rewrite."""

    @property
    def words(self) -> str:
        """What it does, for a person."""
        ...

    def apply(self, model: Any) -> Any | None:
        """The rewritten model, or None where there is nothing to rewrite."""
        ...


@dataclass(frozen=True, slots=True)
class Coded:
    """A tensor as the codes that a DequantizeLinear node reads."""

    node: Any
    codes: str
    scale: npt.NDArray[Any]
    zero: npt.NDArray[Any]

    @property
    def has_one_scale(self) -> bool:
        return self.scale.size == 1

    def is_coded_like(self, other: Coded) -> bool:
        return self.scale.tobytes() == other.scale.tobytes() and self.zero.dtype == other.zero.dtype and self.zero.tobytes() == other.zero.tobytes()


def coded_by(graph: Graph, node: Any) -> Coded | None:
    """What the QuantizeLinear or DequantizeLinear `node` does, when its scale and zero point are constant."""
    if node is None or node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or len(node.input) < 3:
        return None
    scale, zero = graph.constant(node.input[1]), graph.constant(node.input[2])
    return None if scale is None or zero is None else Coded(node, node.input[0], scale, zero)


def copy_of(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def new_name(taken: set[str], wanted: str) -> str:
    """`wanted`, or what makes it unique; it is taken then."""
    while wanted in taken:
        wanted += "_"
    taken.add(wanted)
    return wanted


def add_constant(model: Any, taken: set[str], wanted: str, value: npt.NDArray[Any]) -> str:
    name = new_name(taken, wanted)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def with_nodes(model: Any, nodes: list[Any]) -> Any:
    """`model` with these nodes; constants that none of them reads are dropped."""
    kept = [copy_of_node(node) for node in nodes]
    graph = model.graph
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {value.name for value in graph.output} | Graph(model).captured
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    kept_constants = []
    for tensor in constants:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        kept_constants.append(copy)
    del graph.initializer[:]
    graph.initializer.extend(kept_constants)
    del graph.value_info[:]
    return model


def copy_of_node(node: Any) -> Any:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
