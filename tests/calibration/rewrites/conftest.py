"""Quantised models with known codes, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper


class QdqMaker:
    """Writes a Q/DQ model node by node."""

    def __init__(self, shape: list[int]) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.shape = shape
        self.constants: list[Any] = []

    def constant(self, value: Any, name: str) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def coding(self, name: str, scale: float, zero: int, kind: Any = np.uint8) -> list[str]:
        return [self.constant(np.float32(scale), f"{name}/s"), self.constant(np.asarray(zero, kind), f"{name}/z")]

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], f"{output}/node", **attributes))
        return output

    def pair(self, source: str, name: str, scale: float = 0.02, zero: int = 7, kind: Any = np.uint8) -> str:
        coding = self.coding(name, scale, zero, kind)
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [source, *coding], f"{name}/q"), *coding], f"{name}/dq")

    def conv(self, source: str, shape: tuple[int, ...], name: str, **attributes: Any) -> str:
        codes = self.constant(self.rng.integers(-127, 128, shape).astype(np.int8), f"{name}/w")
        scales = self.constant(self.rng.uniform(0.005, 0.02, shape[0]).astype(np.float32), f"{name}/ws")
        zeros = self.constant(np.zeros(shape[0], np.int8), f"{name}/wz")
        weight = self.node("DequantizeLinear", [codes, scales, zeros], f"{name}/w/dq", axis=0)
        return self.node("Conv", [source, weight], name, kernel_shape=list(shape[2:]), **attributes)

    def model(self, output: str) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "coded",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def qdq() -> type[QdqMaker]:
    return QdqMaker


@pytest.fixture
def output_of() -> Callable[[Any], Any]:
    """The output of a model for one random input, by ONNX Runtime itself."""

    def run(model: Any) -> Any:
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        value = session.get_inputs()[0]
        return session.run(None, {value.name: np.random.default_rng(1).standard_normal(value.shape).astype(np.float32)})[0]

    return run
