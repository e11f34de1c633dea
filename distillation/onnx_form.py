"""A student as an ONNX model: written from its wiring and its filters, without PyTorch. The teacher's names outside, its own inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .filters import Filters
from .interface import Interface
from .wiring import INPUT, Add, Concat, Conv, Linear, Mean, Op, Shape, Shrink, Wiring, shape_after, sources_of

OPSET, IR_VERSION = 17, 8


def onnx_of(wiring: Wiring, filters: Filters, interface: Interface) -> Any:
    """The student as a model of the teacher's input and of its one output; what it makes has passed ONNX's checker."""
    names = {INPUT: interface.input_name}
    nodes: list[Any] = []
    constants: list[Any] = []
    for op in wiring.ops:
        names[op.name] = op.name
        nodes += _nodes(op, names, filters, constants)
    nodes += _end(wiring.output, interface, constants)
    batch = interface.batch or "N"
    graph = helper.make_graph(
        nodes,
        "student",
        [helper.make_tensor_value_info(interface.input_name, TensorProto.FLOAT, [batch, *interface.shape])],
        [helper.make_tensor_value_info(interface.output_name, TensorProto.FLOAT, [batch, *interface.output_shape])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edgewright distill")
    onnx.checker.check_model(model, full_check=True)
    return model


def onnx_of_op(op: Op, shapes: Mapping[str, Shape], filters: Filters) -> Any:
    """One operation alone: its sources, of the given `shapes`, are the inputs, its own tensor is the output."""
    constants: list[Any] = []
    sources = list(dict.fromkeys(sources_of(op)))
    nodes = _nodes(op, {name: name for name in sources}, filters, constants)
    made = shape_after(op, dict(shapes))
    # A mean leaves a matrix, and matrix products read one.
    read = [["N", *(shapes[name][:1] if isinstance(op, Linear) else shapes[name])] for name in sources]
    write = ["N", *(made[:1] if isinstance(op, Linear | Mean) else made)]
    graph = helper.make_graph(
        nodes,
        "operation",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(sources, read, strict=True)],
        [helper.make_tensor_value_info(op.name, TensorProto.FLOAT, write)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _nodes(op: Op, names: dict[str, str], filters: Filters, constants: list[Any]) -> list[Any]:
    if isinstance(op, Conv):
        attributes: dict[str, Any] = {
            "kernel_shape": list(op.kernel),
            "strides": list(op.stride),
            "pads": [op.kernel[0] // 2, op.kernel[1] // 2] * 2,
            "group": op.groups,
        }
        return _activated("Conv", op.name, [names[op.source], *_weights(op.name, filters, constants)], is_active=op.is_active, **attributes)
    if isinstance(op, Add):
        return _activated("Add", op.name, [names[op.left], names[op.right]], is_active=op.is_active)
    if isinstance(op, Concat):
        return [helper.make_node("Concat", [names[op.left], names[op.right]], [op.name], op.name, axis=1)]
    if isinstance(op, Shrink):
        window = [op.factor, op.factor]
        return [helper.make_node("AveragePool", [names[op.source]], [op.name], op.name, kernel_shape=window, strides=window)]
    if isinstance(op, Mean):
        pooled = f"{op.name}/pooled"
        pool = helper.make_node("GlobalAveragePool", [names[op.source]], [pooled], pooled)
        return [pool, helper.make_node("Flatten", [pooled], [op.name], op.name)]
    assert isinstance(op, Linear)
    return [helper.make_node("Gemm", [names[op.source], *_weights(op.name, filters, constants)], [op.name], op.name, transB=1)]


def _activated(kind: str, name: str, inputs: list[str], *, is_active: bool, **attributes: Any) -> list[Any]:
    if not is_active:
        return [helper.make_node(kind, inputs, [name], name, **attributes)]
    before = f"{name}/before"
    return [helper.make_node(kind, inputs, [before], before, **attributes), helper.make_node("Relu", [before], [name], name)]


def _weights(name: str, filters: Filters, constants: list[Any]) -> list[str]:
    pair = [f"{name}/weight", f"{name}/bias"]
    values = (filters[name].weight, filters[name].bias)
    constants += [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), key) for key, value in zip(pair, values, strict=True)]
    return pair


def _end(tensor: str, interface: Interface, constants: list[Any]) -> list[Any]:
    """From the last operation to the output: its shape, and a Softmax where the teacher has one."""
    nodes = []
    if len(interface.output_shape) not in {1, 3} or (len(interface.output_shape) == 3 and interface.output_shape[1:] == (1, 1)):
        constants.append(numpy_helper.from_array(np.asarray([0, *interface.output_shape], np.int64), "output/shape"))
        nodes.append(helper.make_node("Reshape", [tensor, "output/shape"], ["output/shaped"], "output/shaped"))
        tensor = "output/shaped"
    if interface.softmax_axis is None:
        nodes.append(helper.make_node("Identity", [tensor], [interface.output_name], "output"))
    else:
        nodes.append(helper.make_node("Softmax", [tensor], [interface.output_name], "output", axis=interface.softmax_axis))
    return nodes
