"""One step of the walk: a node, with the activation function that is fused into it, as a small model that ONNX Runtime runs by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..engines.ort.runner import OnnxRuntimeRunner, open_on_cpu
from .graph import Graph, clip_bounds
from .plan import Layer, Plan, node_name

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Codes:
    """How a tensor of the quantised network is coded."""

    scale: np.float32
    zero: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """`nodes` in order; the first has the weights, if any. `raw` is the first one's output, `output` what leaves and may carry Q/DQ."""

    nodes: tuple[Any, ...]
    layer: Layer | None
    sources: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def raw(self) -> str:
        name: str = self.nodes[0].output[0]
        return name


def steps(graph: Graph, plan: Plan) -> list[Step]:
    """The nodes of `graph` in order, each fused activation with the node that it belongs to."""
    layers = {layer.node: layer for layer in plan.layers}
    found, taken = [], set[str]()
    for node in graph.nodes:
        if node_name(node) in taken:
            continue
        nodes = [node]
        layer = layers.get(node_name(node))
        after = graph.sole_consumer(node.output[0])
        if after is not None and _is_fused(graph, plan, node, layer, after):
            nodes.append(after)
            taken.add(node_name(after))
        made = {name for one in nodes for name in one.output}
        read = dict.fromkeys(name for one in nodes for name in one.input if name and name not in made and name not in graph.initializers)
        found.append(Step(tuple(nodes), layer, tuple(read), tuple(name for name in nodes[-1].output if name)))
    return found


def _is_fused(graph: Graph, plan: Plan, node: Any, layer: Layer | None, after: Any) -> bool:
    if layer is not None:
        return bool(layer.output == after.output[0])
    bounds = clip_bounds(graph, after)
    return node_name(node) in plan.joined and node.op_type == "Add" and bounds is not None and bounds[0] <= 0 and after.output[0] in plan.tensors


@dataclass(frozen=True, slots=True)
class StepModel:
    """Builds and opens the models of steps. `types` are the element types of tensors, `opset` and `ir` the original model's."""

    graph: Graph
    types: dict[str, int]
    threads: int

    def exact(self, step: Step) -> OnnxRuntimeRunner:
        """The FP32 network's step: its raw output and its outputs."""
        return self._open(list(step.nodes), self._inputs(step, {}), dict.fromkeys((step.raw, *step.outputs)), {})

    def raw(self, step: Step, codes: dict[str, Codes], weight: Array) -> OnnxRuntimeRunner:
        """The quantised network's first node without bias and activation function: inputs come as codes where `codes` has them."""
        node = onnx.NodeProto()
        node.CopyFrom(step.nodes[0])
        del node.input[2:]
        nodes, constants = self._decoded([node], step, codes)
        constants[node.input[1]] = weight
        return self._open(nodes, self._inputs(step, codes), {step.raw: None}, constants)

    def coded(self, step: Step, codes: dict[str, Codes], weight: Array | None, bias: Array | None) -> OnnxRuntimeRunner:
        """The quantised network's step: outputs leave as codes where `codes` has them."""
        copies = []
        for original in step.nodes:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            copies.append(node)
        nodes, constants = self._decoded(copies, step, codes)
        first = copies[0]
        if weight is not None:
            constants[first.input[1]] = weight
        if bias is not None:
            while len(first.input) < 3:
                first.input.append("")
            first.input[2] = first.input[2] or "//bias"
            constants[first.input[2]] = bias
        outputs: dict[str, None] = {}
        for name in step.outputs:
            if name in codes:
                scale, zero = self._code_constants(name, codes[name], constants)
                nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}//q"]))
                outputs[f"{name}//q"] = None
            else:
                outputs[name] = None
        return self._open(nodes, self._inputs(step, codes), outputs, constants)

    def _decoded(self, nodes: list[Any], step: Step, codes: dict[str, Codes]) -> tuple[list[Any], dict[str, Array]]:
        """`nodes` after what turns coded inputs into real ones."""
        constants: dict[str, Array] = {}
        before: list[Any] = []
        for name in step.sources:
            if name not in codes:
                continue
            scale, zero = self._code_constants(name, codes[name], constants)
            before += (
                _decoding(name, scale, zero, constants)
                if step.layer is not None
                else [helper.make_node("DequantizeLinear", [name, scale, zero], [f"{name}//real"])]
            )
            for node in nodes:
                for position, read in enumerate(node.input):
                    if read == name:
                        node.input[position] = f"{name}//real"
        return [*before, *nodes], constants

    @staticmethod
    def _code_constants(name: str, codes: Codes, constants: dict[str, Array]) -> tuple[str, str]:
        constants[f"{name}//scale"], constants[f"{name}//zero"] = np.asarray(codes.scale, np.float32), codes.zero
        return f"{name}//scale", f"{name}//zero"

    def _inputs(self, step: Step, codes: dict[str, Codes]) -> list[Any]:
        kinds = {name: helper.np_dtype_to_tensor_dtype(codes[name].zero.dtype) if name in codes else self.types[name] for name in step.sources}
        return [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]

    def _open(self, nodes: list[Any], inputs: list[Any], outputs: dict[str, None], constants: dict[str, Array]) -> OnnxRuntimeRunner:
        read = {name for node in nodes for name in node.input}
        weights = [
            numpy_helper.from_array(np.ascontiguousarray(value) if value.ndim else value, name) for name, value in constants.items() if name in read
        ]
        weights += [tensor for name, tensor in self.graph.initializers.items() if name in read and name not in constants]
        values = [helper.make_tensor_value_info(name, self.types.get(name, TensorProto.UNDEFINED), None) for name in outputs]
        for value in values:
            if value.type.tensor_type.elem_type == TensorProto.UNDEFINED:
                value.ClearField("type")
        original = self.graph.model
        model = helper.make_model(helper.make_graph(nodes, "step", inputs, values, weights), opset_imports=list(original.opset_import))
        model.ir_version = max(original.ir_version, 8)
        return open_on_cpu(model.SerializeToString(), "a step of the model", threads=self.threads, is_frugal=True)


def _decoding(name: str, scale: str, zero: str, constants: dict[str, Array]) -> list[Any]:
    """What DequantizeLinear does, in other nodes: before a layer with real weights ONNX Runtime takes that one as leave to round them."""
    constants[f"{name}//float_zero"] = constants[zero].astype(np.float32)
    return [
        helper.make_node("Cast", [name], [f"{name}//float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{name}//float", f"{name}//float_zero"], [f"{name}//centred"]),
        helper.make_node("Mul", [f"{name}//centred", scale], [f"{name}//real"]),
    ]
