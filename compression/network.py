"""What a model is made of, as compression sees it: layers with weights, their geometry, multiply-accumulates, parameters and bytes.

Rules:
- a layer is a Conv, Gemm or MatMul with constant float32 weights; everything else only counts its bytes;
- weights are seen as a convolution's: out × in/groups × kernel, a matrix product as a convolution without kernel axes;
- MACs are counted for one sample (batch 1), from inferred shapes; a layer whose shape is not known has none and is left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..calibration.graph import Graph, attribute, clip_bounds

Floats = npt.NDArray[np.float32]
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Geometry:
    """A linear map that slides: ``out`` × ``fan_in`` weights per position. `kernel` is empty for a matrix product."""

    channels_in: int
    channels_out: int
    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def fan_in(self) -> int:
        """Inputs of one output, in its group."""
        return self.channels_in // self.groups * self.taps

    @property
    def params(self) -> int:
        return self.channels_out * self.fan_in

    def size_after(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial size of the output for an input of spatial `size`."""
        half = len(self.kernel)
        return tuple(
            (extent + self.pads[i] + self.pads[half + i] - self.dilations[i] * (self.kernel[i] - 1) - 1) // self.strides[i] + 1
            for i, extent in enumerate(size)
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One node with weights. `size` is its input's spatial size; a matrix product's is the number of its rows per sample."""

    name: str
    op: str
    source: str
    output: str
    weight: str
    bias: str | None
    geometry: Geometry
    size: tuple[int, ...]
    is_transposed: bool = False

    @property
    def positions(self) -> int:
        """Output positions per sample."""
        return math.prod(self.geometry.size_after(self.size)) if self.geometry.kernel else math.prod(self.size)

    @property
    def macs(self) -> int:
        return self.positions * self.geometry.params

    @property
    def is_pointwise(self) -> bool:
        """One input position makes one output position, one for one."""
        geometry = self.geometry
        return geometry.groups == 1 and geometry.taps == 1 and not any(geometry.pads)


def chain_macs(chain: tuple[Geometry, ...], size: tuple[int, ...]) -> int:
    """MACs per sample of layers that follow each other, from an input of spatial `size`."""
    total = 0
    for geometry in chain:
        if geometry.kernel:
            size = geometry.size_after(size)
        total += math.prod(size) * geometry.params
    return total


@dataclass(frozen=True)
class Network:
    """A normalised model with its layers. Read-only: passes make new models."""

    model: Any

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.model)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Fully known shapes by tensor, at batch 1."""
        return _shapes_at_batch_one(self.model)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """In topological order."""
        return tuple(layer for node in self.model.graph.node if (layer := _layer(self, node)) is not None)

    def layer(self, name: str) -> Layer:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def params(self) -> int:
        """Elements of all floating point constants."""
        return sum(math.prod(tensor.dims) for tensor in self.model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)

    def weight(self, layer: Layer) -> Floats:
        """The layer's weights as out × in/groups × kernel."""
        value = self.graph.constant(layer.weight)
        assert value is not None
        return np.ascontiguousarray(value.T) if layer.is_transposed else np.ascontiguousarray(value)

    def bias(self, layer: Layer) -> Floats | None:
        if layer.bias is None:
            return None
        value = self.graph.constant(layer.bias)
        assert value is not None
        return value.reshape(-1)

    def bounds_after(self, tensor: str) -> tuple[float, float] | None:
        """The bounds of the Relu or Clip that alone reads `tensor`; None when anything else does."""
        node = self.graph.sole_consumer(tensor)
        return None if node is None else clip_bounds(self.graph, node)


def _layer(network: Network, node: Any) -> Layer | None:
    if node.op_type not in WEIGHTED or network.graph.captured.intersection(node.output):
        return None
    graph = network.graph
    weight = graph.constant(node.input[1])
    shape = network.shapes.get(node.input[0])
    if weight is None or weight.dtype != np.float32 or shape is None or graph.constant(node.input[0]) is not None:
        return None
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if bias is not None and (value := graph.constant(bias)) is not None and value.size != _channels_out(node, weight):
        return None
    if bias is not None and graph.constant(bias) is None:
        return None
    return _convolution(node, weight, bias, shape) if node.op_type == "Conv" else _product(node, weight, bias, shape)


def _channels_out(node: Any, weight: Floats) -> int:
    is_last = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
    return int(weight.shape[-1] if is_last else weight.shape[0])


def _convolution(node: Any, weight: Floats, bias: str | None, shape: tuple[int, ...]) -> Layer | None:
    kernel = weight.shape[2:]
    if len(shape) != len(kernel) + 2 or not kernel:
        return None
    ones = [1] * len(kernel)
    strides, dilations = tuple(attribute(node, "strides", ones)), tuple(attribute(node, "dilations", ones))
    size = shape[2:]
    pads = _pads(node, kernel, strides, dilations, size)
    groups = attribute(node, "group", 1)
    geometry = Geometry(shape[1], weight.shape[0], groups, kernel, strides, dilations, pads)
    return Layer(node.name, "Conv", node.input[0], node.output[0], node.input[1], bias, geometry, size)


def _pads(node: Any, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """Explicit padding, begin then end; ``SAME`` is resolved for the known size."""
    mode = attribute(node, "auto_pad", b"NOTSET").decode()
    if mode not in {"SAME_UPPER", "SAME_LOWER"}:
        return tuple(attribute(node, "pads", [0] * (2 * len(kernel)))) if mode == "NOTSET" else (0,) * (2 * len(kernel))
    begin, end = [], []
    for extent, window, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-extent // stride) - 1) * stride + dilation * (window - 1) + 1 - extent)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return (*begin, *end)


def _product(node: Any, weight: Floats, bias: str | None, shape: tuple[int, ...]) -> Layer | None:
    if weight.ndim != 2 or len(shape) < 2:
        return None
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0):
        return None
    is_transposed = node.op_type == "MatMul" or not attribute(node, "transB", 0)
    out, fan_in = (weight.shape[1], weight.shape[0]) if is_transposed else weight.shape
    rows = math.prod(shape[:-1]) if len(shape) > 2 else 1
    return Layer(node.name, node.op_type, node.input[0], node.output[0], node.input[1], bias, Geometry(fan_in, out), (rows,), is_transposed)


def _shapes_at_batch_one(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes with the free first axes of the inputs set to 1; tensors with other free axes are left out."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and not (axes[0].HasField("dim_value") and axes[0].dim_value > 0):
            axes[0].dim_value = 1
    del graph.value_info[:]
    for value in graph.output:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    # Weights in a model of 2 GB would pass through serialisation for nothing: shapes need only small constants.
    for tensor in graph.initializer:
        if math.prod(tensor.dims) > 64:
            _forget_values(tensor)
    try:
        copy = onnx.shape_inference.infer_shapes(copy, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*copy.graph.value_info, *copy.graph.input, *copy.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _forget_values(tensor: Any) -> None:
    name, kind, dims = tensor.name, tensor.data_type, list(tensor.dims)
    tensor.Clear()
    tensor.name, tensor.data_type = name, kind
    tensor.dims.extend(dims)


def constant_bytes(model: Any) -> int:
    """Bytes of all constants of the top-level graph."""
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
