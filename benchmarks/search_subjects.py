"""Networks that no data folder has, for `search.py`: arbitrary weights, the shapes of well-known architectures at 96 × 96.

Their outputs mean nothing, so that only speed, and that the search keeps within what it allows itself, can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CLASSES, SAMPLES = 96, 20, 96
CARD = """[inputs.input]
kind = "array"
[task]
kind = "classification"
output = "logits"
"""
# kernel, expanded, out, with squeeze and excitation, with hard swish, stride: MobileNetV3-Small's blocks.
_SMALL = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1),
)  # fmt: skip


@dataclass(slots=True)
class _Net:
    """Nodes and weights as they are written."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"n{len(self.nodes)}", **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def conv(self, source: str, into: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        fan_in = into // groups * kernel * kernel
        weight = self.rng.standard_normal((out, into // groups, kernel, kernel)) * (1.6 / fan_in) ** 0.5
        pads = [kernel // 2] * 4
        names = self.constant(weight), self.constant(0.05 * self.rng.standard_normal(out))
        return self.op("Conv", source, *names, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)

    def excited(self, source: str, channels: int) -> str:
        inner = max(8, channels // 4)
        squeezed = self.op("Relu", self.conv(self.op("GlobalAveragePool", source), channels, inner))
        return self.op("Mul", source, self.op("HardSigmoid", self.conv(squeezed, inner, channels), alpha=1 / 6, beta=0.5))

    def head(self, source: str, channels: int) -> Any:
        flat = self.op("Flatten", self.op("GlobalAveragePool", source))
        weight, bias = self.constant(self.rng.standard_normal((CLASSES, channels)) / channels**0.5), self.constant(np.zeros(CLASSES))
        self.nodes.append(helper.make_node("Gemm", [flat, weight, bias], ["logits"], "head", transB=1))
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIZE, SIZE])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])]
        graph = helper.make_graph(self.nodes, "subject", inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def mobilenet_v3_small(rng: np.random.Generator) -> Any:
    net = _Net(rng)
    source, channels = net.op("HardSwish", net.conv("input", 3, 16, 3, 2)), 16
    for kernel, inner, out, is_excited, is_swish, stride in _SMALL:
        activation = "HardSwish" if is_swish else "Relu"
        found = net.op(activation, net.conv(source, channels, inner)) if inner != channels else source
        found = net.op(activation, net.conv(found, inner, inner, kernel, stride, inner))
        found = net.conv(net.excited(found, inner) if is_excited else found, inner, out)
        source = net.op("Add", source, found) if stride == 1 and out == channels else found
        channels = out
    return net.head(net.op("HardSwish", net.conv(source, channels, 576)), 576)


def resnet18(rng: np.random.Generator) -> Any:
    net = _Net(rng)
    source, channels = net.op("Relu", net.conv("input", 3, 32, 7, 2)), 32
    source = net.op("MaxPool", source, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for out, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        found = net.conv(net.op("Relu", net.conv(source, channels, out, 3, stride)), out, out, 3)
        beside = source if stride == 1 and out == channels else net.conv(source, channels, out, 1, stride)
        source, channels = net.op("Relu", net.op("Add", found, beside)), out
    return net.head(source, channels)


SUBJECTS: dict[str, Callable[[np.random.Generator], Any]] = {"mobilenet_v3_small*": mobilenet_v3_small, "resnet18*": resnet18}


def write_subject(name: str, folder: Path) -> tuple[Path, Path]:
    """The model and the samples to calibrate on, written into `folder`."""
    rng = np.random.default_rng(7)
    model = folder / "subject.onnx"
    onnx.save(SUBJECTS[name](rng), str(model))
    model.with_suffix(".toml").write_text(CARD)
    smooth = rng.standard_normal((SAMPLES, 3, SIZE // 8, SIZE // 8)).repeat(8, 2).repeat(8, 3)
    np.savez(folder / "samples.npz", input=(smooth + 0.2 * rng.standard_normal(smooth.shape)).astype(np.float32))
    return model, folder / "samples.npz"
