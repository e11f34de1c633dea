"""Writes the Q/DQ model: the same graph with quantise/dequantise pairs where the plan says, for one dialect.

A dialect fixes the codes: ONNX Runtime on x86 wants unsigned asymmetric activations and signed per-channel weights; ARM and TensorRT want
signed symmetric ones. The arithmetic of scale and zero point is ONNX's QuantizeLinear: q = saturate(round(x / scale) + zero_point).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .graph import Graph
from .plan import Layer, Plan, node_name
from .table import Range, RangeTable

Floats = npt.NDArray[np.float32]
FLOAT8: np.dtype[Any] = np.dtype(ml_dtypes.float8_e4m3fn)
FLOAT8_MAX = 448.0
_MIN_SCALE = 1e-12


@dataclass(frozen=True, slots=True)
class Dialect:
    """How codes are written. `weight_max` below 127 keeps sums inside 16 bits on processors without VNNI.

    With `is_float8` codes are 8-bit floats of four exponent bits, with one scale for all weights of a layer.
    """

    name: str
    is_unsigned: bool
    quantizes_bias: bool
    weight_max: int = 127
    is_float8: bool = False

    @property
    def code_type(self) -> npt.DTypeLike:
        """The type of an activation's codes."""
        if self.is_float8:
            return FLOAT8
        return np.uint8 if self.is_unsigned else np.int8


@dataclass(frozen=True, slots=True)
class WeightCodes:
    """A layer's weights as written: int8 or 8-bit float codes, one scale per output channel, and the bias that goes with them."""

    codes: npt.NDArray[Any]
    scales: Floats
    bias: Floats | None


@dataclass(slots=True)
class QdqWriter:
    """Writes one model. `weights` replaces the rounding of a layer, by the layer's name."""

    graph: Graph
    plan: Plan
    table: RangeTable
    dialect: Dialect
    weights: dict[str, WeightCodes] = field(default_factory=dict)
    _nodes: list[Any] = field(default_factory=list)
    _initializers: list[Any] = field(default_factory=list)
    _renamed: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def write(self) -> Any:
        """The Q/DQ model, with the inputs and outputs of the original."""
        layers = {layer.node: layer for layer in self.plan.layers}
        tensors = set(self.plan.tensors)
        self._taken.update(self.graph.names)
        for name in self.graph.inputs:
            if name in tensors:
                self._pair(name, name)
        for node in self.graph.nodes:
            self._copy(node, layers.get(node_name(node)), tensors)
        return self._model()

    def activation_scale(self, tensor: str) -> tuple[np.float32, int]:
        """Scale and zero point of an activation."""
        return activation_codes(self.table.ranges[self.plan.range_owner(tensor)], self.dialect)

    def _copy(self, node: Any, layer: Layer | None, tensors: set[str]) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(copy.input):
            copy.input[position] = self._renamed.get(name, name)
        if layer is not None:
            self._write_weights(copy, layer)
        sources = {}
        for position, name in enumerate(node.output):
            if name in tensors:
                # The graph's output keeps its name on the dequantised value.
                sources[name] = self._new(f"{name}/float") if name in self.graph.outputs else name
                copy.output[position] = sources[name]
        self._nodes.append(copy)
        for name, source in sources.items():
            self._pair(source, name)

    def _pair(self, source: str, tensor: str) -> None:
        """Quantise `source` and dequantise it again; every reader of `tensor` reads the result."""
        scale, zero = self.activation_scale(tensor)
        zeros = np.asarray(zero, self.dialect.code_type)
        codes = self._constant(f"{tensor}/scale", np.asarray(scale, np.float32)), self._constant(f"{tensor}/zero", zeros)
        quantized = self._new(f"{tensor}/q")
        result = tensor if source != tensor and tensor in self.graph.outputs else self._new(f"{tensor}/dq")
        self._nodes.append(helper.make_node("QuantizeLinear", [source, *codes], [quantized], f"{tensor}/quantize"))
        self._nodes.append(helper.make_node("DequantizeLinear", [quantized, *codes], [result], f"{tensor}/dequantize"))
        self._renamed[tensor] = result

    def _write_weights(self, node: Any, layer: Layer) -> None:
        coded = self.weights.get(layer.node) or self.round_to_nearest(layer)
        node.input[1] = self._dequantized(f"{layer.node}/weight", coded.codes, coded.scales, layer.axis)
        if coded.bias is not None and layer.op != "MatMul":
            bias = self._written_bias(layer, coded.bias, coded.scales)
            if len(node.input) < 3:
                node.input.append(bias)
            node.input[2] = bias

    def _written_bias(self, layer: Layer, bias: Floats, weight_scales: Floats) -> str:
        name = f"{layer.node}/bias"
        if not self.dialect.quantizes_bias:
            return self._constant(name, bias.astype(np.float32))
        scales = bias_scale(self.activation_scale(layer.source)[0], weight_scales)
        codes = np.clip(np.rint(bias.astype(np.float64) / scales), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        return self._dequantized(name, codes, scales, 0)

    def _dequantized(self, name: str, codes: npt.NDArray[Any], scales: Floats, axis: int) -> str:
        """Constant codes with a scale per slice along `axis`; returns the name of their real values."""
        inputs = [
            self._constant(f"{name}/q", codes),
            self._constant(f"{name}/scale", scales),
            self._constant(f"{name}/zero", np.zeros(len(scales), codes.dtype)),
        ]
        result = self._new(f"{name}/dq")
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [result], f"{name}/dequantize", axis=axis))
        return result

    def round_to_nearest(self, layer: Layer) -> WeightCodes:
        """The layer's weights rounded to the nearest code; its bias as it is (zeros where a Conv has none and the dialect quantises it)."""
        weight = self.graph.constant(layer.weight)
        assert weight is not None
        bias = None if layer.bias is None else self.graph.constant(layer.bias)
        values = None if bias is None else bias.astype(np.float32).reshape(-1)
        if self.dialect.is_float8:
            scale = max(float(np.abs(weight).max(initial=0.0)) / FLOAT8_MAX, _MIN_SCALE)
            return WeightCodes((weight / scale).astype(FLOAT8), np.full(weight.shape[layer.axis], scale, np.float32), values)
        scales = weight_scales(weight, layer.axis, self.dialect.weight_max)
        scales = large_enough_for_bias(scales, values, self.activation_scale(layer.source)[0])
        return WeightCodes(weight_codes(weight, scales, layer.axis, self.dialect.weight_max), scales, values)

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        name = self._new(name)
        self._initializers.append(tensor_of(value, name))
        return name

    def _new(self, name: str) -> str:
        """`name`, or what makes it unique: exporters use names with slashes too."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _model(self) -> Any:
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.model)
        graph = model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | self.graph.captured | self.graph.outputs
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend([*kept, *self._initializers])
        del graph.value_info[:]
        model.producer_name = "edgewright"
        return model


def tensor_of(value: npt.NDArray[Any], name: str) -> Any:
    """`value` as ONNX keeps it."""
    if value.dtype == FLOAT8:
        return onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT8E4M3FN, dims=value.shape, raw_data=value.tobytes())
    return numpy_helper.from_array(np.ascontiguousarray(value) if value.ndim else value, name)


def activation_codes(interval: Range, dialect: Dialect) -> tuple[np.float32, int]:
    """Scale and zero point that cover `interval` (which includes zero); a width of zero gets scale 1."""
    if dialect.is_unsigned:
        width = interval.high - interval.low
        scale = np.float32(max(width / 255, _MIN_SCALE) if width > 0 else 1.0)
        return scale, int(np.clip(round(-interval.low / float(scale)), 0, 255))
    reach = max(-interval.low, interval.high)
    largest = FLOAT8_MAX if dialect.is_float8 else 127
    return np.float32(max(reach / largest, _MIN_SCALE) if reach > 0 else 1.0), 0


def weight_scales(weight: Floats, axis: int, weight_max: int) -> Floats:
    """One scale per slice along `axis`, so that the largest weight gets the code `weight_max`; a slice of zeros gets scale 1."""
    largest = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    return np.where(largest > 0, np.maximum(largest / weight_max, _MIN_SCALE), 1.0).astype(np.float32)


def large_enough_for_bias(scales: Floats, bias: Floats | None, source_scale: np.float32) -> Floats:
    """`scales`, raised where a bias would overflow its 32-bit code (onnxruntime issue 22020: channels of tiny weights)."""
    if bias is None:
        return scales
    needed = np.abs(bias.astype(np.float64)) / (float(source_scale) * (2**31 - 2**8))
    return np.maximum(scales, needed.astype(np.float32))


def weight_codes(weight: Floats, scales: Floats, axis: int, weight_max: int) -> npt.NDArray[np.int8]:
    shape = [1] * weight.ndim
    shape[axis] = -1
    codes: npt.NDArray[np.int8] = np.clip(np.rint(weight / scales.reshape(shape)), -weight_max, weight_max).astype(np.int8)
    return codes


def bias_scale(source_scale: np.float32, weight_scale: Floats) -> Floats:
    """The scale of an int32 bias, computed in float32 as the runtime does."""
    scales: Floats = (np.float32(source_scale) * weight_scale.astype(np.float32)).astype(np.float32)
    return scales
