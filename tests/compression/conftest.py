"""Generated networks with what makes compression hard: coupled channels, groups, dilation, odd shapes, uneven pads, auto_pad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from edgewright.compression.activations import Engine
from edgewright.compression.base import Context
from edgewright.compression.network import Network
from edgewright.compression.samples import Batch, Samples
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


class GraphMaker:
    """Writes a network node by node; weights are random with a fast decaying spectrum, as trained ones have."""

    def __init__(self, channels: int, size: tuple[int, int], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shape = ["N", channels, *size]
        self.channels = {"x": channels}
        self.count = 0

    def _name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def weight(self, out: int, fan_in: int) -> Array:
        rank = min(out, fan_in)
        left = np.linalg.qr(self.rng.standard_normal((out, rank)))[0]
        right = np.linalg.qr(self.rng.standard_normal((fan_in, rank)))[0]
        return (left * (0.8 ** np.arange(rank)) @ right.T * 2).astype(np.float32)

    def conv(self, source: str, out: int, kernel: tuple[int, ...] = (3, 3), groups: int = 1, name: str | None = None, **attributes: Any) -> str:
        into = self.channels[source] // groups
        target = name or self._name()
        weight = self.weight(out, into * int(np.prod(kernel))).reshape(out, into, *kernel)
        self.constants += [numpy_helper.from_array(weight, f"{target}/w")]
        bias = (0.1 * self.rng.standard_normal(out)).astype(np.float32)
        self.constants += [numpy_helper.from_array(bias, f"{target}/b")]
        if "auto_pad" not in attributes:
            attributes.setdefault("pads", [k // 2 for k in kernel] * 2)
        self.nodes.append(helper.make_node("Conv", [source, f"{target}/w", f"{target}/b"], [target], f"{target}/conv", group=groups, **attributes))
        self.channels[target] = out
        return target

    def op(self, kind: str, *sources: str, out: int | None = None, **attributes: Any) -> str:
        target = self._name()
        self.nodes.append(helper.make_node(kind, list(sources), [target], f"{target}/{kind.lower()}", **attributes))
        self.channels[target] = out if out is not None else self.channels[sources[0]]
        return target

    def head(self, source: str, classes: int) -> Any:
        """Global pooling, flattening and a Gemm; the finished model."""
        flat = self.op("Flatten", self.op("GlobalAveragePool", source))
        weight = self.weight(classes, self.channels[source])
        self.constants += [numpy_helper.from_array(weight, "head/w"), numpy_helper.from_array(np.zeros(classes, np.float32), "head/b")]
        self.nodes.append(helper.make_node("Gemm", [flat, "head/w", "head/b"], ["logits"], "head", transB=1))
        return self.model("logits", ["N", classes])

    def model(self, output: str, shape: list[Any]) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "generated",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


@pytest.fixture
def maker() -> type[GraphMaker]:
    return GraphMaker


@pytest.fixture
def residual_model() -> Any:
    """Plain, residual, concatenated and depthwise parts, behind one another."""
    return make_residual_model()


@pytest.fixture(scope="session")
def shared_residual_model() -> Any:
    """The same for fixtures that many tests share; nobody changes it."""
    return make_residual_model()


def make_residual_model() -> Any:
    m = GraphMaker(3, (12, 12), 1)
    a = m.op("Relu", m.conv("x", 16))
    b = m.op("Relu", m.conv(a, 24))
    c = m.op("Relu", m.op("Add", m.conv(b, 16), a))
    d = m.op("Relu", m.conv(c, 16, groups=16))
    e = m.op("Concat", m.op("Relu", m.conv(d, 16, (1, 1), pads=[0, 0, 0, 0])), m.op("Relu", m.conv(d, 16)), out=32, axis=1)
    return m.head(m.op("Relu", m.conv(e, 24, strides=[2, 2])), 8)


@pytest.fixture(scope="session")
def samples() -> Callable[..., Samples]:
    """``samples(model, count)``: smooth random inputs in batches of eight."""
    return make_samples


def make_samples(model: Any, count: int = 48, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    value = model.graph.input[0]
    first, *shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    step = first or 8  # a model of fixed batch takes no other
    batches = []
    for start in range(0, count, step):
        size = min(step, count - start)
        noise = rng.standard_normal((size, *shape))
        smooth = noise + np.roll(noise, 1, -1) + np.roll(noise, 1, -2) + 2 * rng.standard_normal((size, shape[0], 1, 1))
        batches.append(Batch(start, size, {value.name: smooth.astype(np.float32)}))
    return Samples(tuple(batches), count, count)


@pytest.fixture
def context() -> Callable[..., Context]:
    """``context(samples)``: classifier, repaired, nothing timed."""

    def make(samples: Samples | None, *, repair: bool = True) -> Context:
        return Context(samples, Engine(), is_classifier=True, repair=repair, stopwatch=None, progress=lambda *_: None)

    return make


@pytest.fixture
def run_model() -> Callable[[Any, Samples], Array]:
    """The first output of a model over samples, by onnxruntime itself."""

    def run(model: Any, samples: Samples) -> Array:
        import onnxruntime

        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, batch.feeds)[0][: batch.count] for batch in samples.batches])

    return run


@pytest.fixture
def network() -> Callable[[Any], Network]:
    return Network
