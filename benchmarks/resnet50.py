"""A network of ResNet-50's shape with random weights: large enough to show what compression costs in time and memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def resnet50(seed: int = 0) -> Any:
    """ResNet-50's shape with random weights of a decaying spectrum; batch norms are folded."""
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    constants: list[Any] = []

    def conv(source: str, name: str, into: int, out: int, kernel: int, stride: int = 1, *, relu: bool = True) -> str:
        weight = rng.standard_normal((out, into, kernel, kernel)) * (0.995 ** np.arange(into))[None, :, None, None]
        weight *= math.sqrt(1.6 / np.square(weight).sum((1, 2, 3)).mean())
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        constants.append(numpy_helper.from_array((0.05 * rng.standard_normal(out)).astype(np.float32), f"{name}.b"))
        pads, steps = [kernel // 2] * 4, [stride, stride]
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.y"], name, pads=pads, strides=steps))
        if not relu:
            return f"{name}.y"
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], f"{name}.relu"))
        return f"{name}.r"

    x = conv("x", "stem", 3, 64, 7, 2)
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    x, into = "pool", 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            y = conv(x, f"{name}.1", into, width, 1)
            y = conv(y, f"{name}.2", width, width, 3, stride)
            y = conv(y, f"{name}.3", width, 4 * width, 1, relu=False)
            short = conv(x, f"{name}.0", into, 4 * width, 1, stride, relu=False) if not block else x
            nodes.append(helper.make_node("Add", [y, short], [f"{name}.s"], f"{name}.add"))
            nodes.append(helper.make_node("Relu", [f"{name}.s"], [f"{name}.o"], f"{name}.out"))
            x, into = f"{name}.o", 4 * width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["gap"], "gap"))
    nodes.append(helper.make_node("Flatten", ["gap"], ["flat"], "flat"))
    constants.append(numpy_helper.from_array((rng.standard_normal((1000, 2048)) / 45).astype(np.float32), "fc.w"))
    constants.append(numpy_helper.from_array(np.zeros(1000, np.float32), "fc.b"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["logits"], "fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "resnet50",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
