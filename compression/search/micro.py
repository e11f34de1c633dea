"""Writes the small model of a variant: the layers alone, in the setting that they have inside the network.

A layer in codes reads and makes codes, channels last, as ONNX Runtime's integer kernels hand them on: neither the conversion of an input nor a
transposition is timed with it. A float island converts at both ends: that is what it costs inside a quantised network. Weights and codes are
arbitrary, since only time is measured; rewrites of finished models are applied here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from ...calibration.dialects import onnxruntime_dialect
from ...calibration.rewriting import rewritten
from ..network import Geometry
from .plan import Variant
from .skeleton import half_zero

_SCALE = 0.02
_OPSET = 17


def micro_model(variant: Variant) -> Any:
    """The ONNX model of `variant` at batch 1; its one input is ``x``, its one output ``y``."""
    return rewritten(_Writer(variant).model()) if variant.setting == "codes" else _Writer(variant).model()


@dataclass(slots=True)
class _Writer:
    variant: Variant
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def model(self) -> Any:
        chain, is_coded = self.variant.chain, self.variant.setting != "float"
        kind = self._code_type() if is_coded else np.dtype(np.float32)
        last = self._chain(chain, "x", is_coded=is_coded) if chain else self._node("Relu" if not is_coded else "Identity", ["x"])
        for node in self.nodes:
            for index, name in enumerate(node.output):
                node.output[index] = "y" if name == last else name
        is_float_out = not is_coded or (chain and not chain[-1].kernel)
        graph = helper.make_graph(
            self.nodes,
            "variant",
            [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(kind), self._shape(is_coded=is_coded))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT if is_float_out else helper.np_dtype_to_tensor_dtype(kind), None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)

    def _chain(self, chain: tuple[Geometry, ...], source: str, *, is_coded: bool) -> str:
        axes = len(chain[0].kernel)
        if is_coded and axes:
            source = self._node("Transpose", [source], perm=[0, axes + 1, *range(1, axes + 1)])
        if self.variant.setting == "island":
            source = self._dequantized(source)
        for index, geometry in enumerate(chain):
            source = self._layer(geometry, self._dequantized(source) if self.variant.setting == "codes" else source)
            if geometry.kernel or not is_coded:
                source = self._node("Relu", [source]) if index == len(chain) - 1 else source
            if self.variant.setting == "codes" and (geometry.kernel or index < len(chain) - 1):
                source = self._quantized(source)
        if self.variant.setting == "island" and axes:
            source = self._quantized(source)
        return self._node("Transpose", [source], perm=[0, *range(2, axes + 2), 1]) if is_coded and axes else source

    def _layer(self, geometry: Geometry, source: str) -> str:
        shape = (geometry.channels_out, geometry.channels_in // geometry.groups, *geometry.kernel)
        weight, bias = self._weights(shape, geometry.fan_in)
        if not geometry.kernel:
            return self._node("Gemm", [source, weight, bias], transB=1)
        g = geometry
        return self._node(
            "Conv",
            [source, weight, bias],
            kernel_shape=list(g.kernel),
            strides=list(g.strides),
            dilations=list(g.dilations),
            pads=list(g.pads),
            group=g.groups,
        )

    def _weights(self, shape: tuple[int, ...], fan_in: int) -> tuple[str, str]:
        if self.variant.setting != "codes":
            weight = (self.rng.standard_normal(shape) / math.sqrt(fan_in)).astype(np.float32)
            return self._constant(half_zero(weight) if self.variant.is_sparse else weight), self._constant(np.zeros(shape[0], np.float32))
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        codes = half_zero(codes) if self.variant.is_sparse else codes
        return self._decoded(codes, np.int8, 0.01), self._decoded(np.zeros(shape[0], np.int32), np.int32, 0.01 * _SCALE)

    def _decoded(self, codes: npt.NDArray[Any], kind: type[Any], scale: float) -> str:
        """Constant codes with a scale per output channel."""
        count = len(codes)
        inputs = [self._constant(codes), self._constant(np.full(count, scale, np.float32)), self._constant(np.zeros(count, kind))]
        return self._node("DequantizeLinear", inputs, axis=0)

    def _quantized(self, source: str) -> str:
        return self._node("QuantizeLinear", [source, *self._coding()])

    def _dequantized(self, source: str) -> str:
        return self._node("DequantizeLinear", [source, *self._coding()])

    def _coding(self) -> list[str]:
        return [self._constant(np.asarray(_SCALE, np.float32)), self._constant(np.zeros((), self._code_type()))]

    def _code_type(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if onnxruntime_dialect().is_unsigned else np.int8)

    def _shape(self, *, is_coded: bool) -> list[int]:
        chain, size = self.variant.chain, self.variant.size
        if not chain:
            return [1, 16]
        channels = chain[0].channels_in
        if not chain[0].kernel:
            return [*size, channels]
        return [1, *size, channels] if is_coded else [1, channels, *size]

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"{name}/{kind.lower()}", **attributes))
        return name

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name
