"""Small ONNX models with known weights, and the files that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Shape = Sequence[int | str | None]

IMAGE_CARD = """
[inputs.input]
kind = "image"
color = "RGB"
layout = "NCHW"
size = [8, 8]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[task]
kind = "classification"
output = "logits"
"""
ARRAY_CARD = '[task]\nkind = "classification"\noutput = "logits"\n'


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), name or outputs[0], **attributes)


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape | None],
    weights: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    domains: Mapping[str, int] | None = None,
) -> Any:
    """A model of `nodes` whose inputs and outputs are all of `dtype`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, None if shape is None else list(shape)) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, version) for name, version in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def wide_classifier(seed: int = 2) -> Any:
    """3x8x8 → 4 classes with twenty thousand weights: enough to be worth compressing."""
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> Array:
        fan_in = int(np.prod(shape[1:]))
        return (random.standard_normal(shape) * (0.9 ** np.arange(shape[0]))[(..., *[None] * (len(shape) - 1))] / fan_in**0.5).astype(np.float32)

    nodes = [
        node("Conv", ["input", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3"], ["logits"], transB=1),
    ]
    weights = {"w1": weight(32, 3, 3, 3), "w2": weight(64, 32, 3, 3), "w3": weight(4, 64)}
    return model(nodes, {"input": ["N", 3, 8, 8]}, {"logits": ["N", 4]}, weights)


def classifier(*, batch: int | str = "N", softmax: bool = False, seed: int = 1) -> Any:
    """3x8x8 → 4 classes: convolution with Relu, pooling, depthwise with Clip, a residual addition, global pooling, Gemm."""
    random = np.random.default_rng(seed)
    logits = "scores" if softmax else "logits"
    nodes = [
        node("Conv", ["input", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2"], ["c2"], group=8, pads=[1, 1, 1, 1]),
        node("Clip", ["c2", "zero", "six"], ["r2"]),
        node("Conv", ["r2", "w3", "b3"], ["c3"]),
        node("Add", ["c3", "p1"], ["a3"]),
        node("Conv", ["a3", "w4", "b4"], ["c4"]),
        node("Relu", ["c4"], ["r4"]),
        node("GlobalAveragePool", ["r4"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w5", "b5"], [logits]),
    ]
    if softmax:
        nodes.append(node("Softmax", [logits], ["logits"]))
    weights = {
        "w1": random.normal(0, 0.4, (8, 3, 3, 3)),
        "b1": random.normal(0, 0.2, 8),
        "w2": random.normal(0, 0.4, (8, 1, 3, 3)),
        "w3": random.normal(0, 0.4, (8, 8, 1, 1)),
        "b3": random.normal(0, 0.2, 8),
        "w4": random.normal(0, 0.4, (8, 8, 1, 1)),
        "b4": random.normal(0, 0.2, 8),
        "w5": random.normal(0, 1.5, (8, 4)),
        "b5": random.normal(0, 0.2, 4),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    floats = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    return model(nodes, {"input": [batch, 3, 8, 8]}, {"logits": [batch, 4]}, floats)


def hungry(step_mb: int, steps: int) -> Any:
    """A small file that takes `step_mb` × `steps` of memory to load: its constants grow when they are folded."""
    weights: dict[str, Array] = {"shape": np.array([step_mb * 1024 * 256], np.int64)}
    nodes = []
    previous = "x"
    for step in range(steps):
        weights[f"c{step}"] = np.full(1, step + 1, np.float32)
        nodes.append(node("Expand", [f"c{step}", "shape"], [f"b{step}"]))
        nodes.append(node("Add", [previous, f"b{step}"], [f"a{step}"]))
        nodes.append(node("ReduceSum", [f"a{step}"], [f"s{step}"], keepdims=1))
        previous = f"s{step}"
    return model(nodes, {"x": [1]}, {previous: [1]}, weights)


def slow(steps: int, side: int = 1024) -> Any:
    """A small file that takes long to load, in one call of the runtime: products of matrices are folded, each of the one before."""
    weights: dict[str, Array] = {"shape": np.array([side, side], np.int64), "c": np.full(1, 1 / side, np.float32)}
    nodes = [node("Expand", ["c", "shape"], ["m0"])]
    nodes += [node("MatMul", [f"m{step}", f"m{step}"], [f"m{step + 1}"]) for step in range(steps)]
    nodes += [node("ReduceMean", [f"m{steps}"], ["mean"], keepdims=0), node("Add", ["x", "mean"], ["y"])]
    return model(nodes, {"x": [1]}, {"y": [1]}, weights)


def detector(*, boxes: int = 40) -> Any:
    """Two inputs; boxes, scores and, by non-maximum suppression in the graph, which of them to keep: as many as the data say."""
    weights = {
        "most": np.array([5], np.int64), "iou": np.float32([0.5]), "threshold": np.float32([0.6]),
        "w": np.random.default_rng(3).normal(0, 0.5, (16, boxes * 4)).astype(np.float32), "to_boxes": np.array([-1, boxes, 4], np.int64),
        "v": np.random.default_rng(4).normal(0, 0.5, (16, boxes)).astype(np.float32), "to_scores": np.array([-1, 1, boxes], np.int64),
    }  # fmt: skip
    nodes = [
        node("MatMul", ["features", "w"], ["raw"]),
        node("Sigmoid", ["raw"], ["squashed"]),
        node("Reshape", ["squashed", "to_boxes"], ["boxes"]),
        node("MatMul", ["features", "v"], ["scored"]),
        node("Mul", ["scored", "gain"], ["gained"]),
        node("Sigmoid", ["gained"], ["likely"]),
        node("Reshape", ["likely", "to_scores"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "threshold"], ["kept"]),
    ]
    outputs: dict[str, Shape | None] = {"boxes": ["N", boxes, 4], "scores": ["N", 1, boxes], "kept": [None, 3]}
    proto = model(nodes, {"features": ["N", 16], "gain": ["N", 1]}, outputs, weights)
    proto.graph.output[2].type.tensor_type.elem_type = TensorProto.INT64
    return proto


def two_headed(seed: int = 0) -> Any:
    """3x8x8 → six scores, and six boxes as a picture: two outputs of which no card says what they are."""
    nodes = [
        node("Conv", ["input", "w"], ["features"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Flatten", ["pooled"], ["scores"]),
        node("Relu", ["features"], ["boxes"]),
    ]
    weights = {"w": np.random.default_rng(seed).standard_normal((6, 3, 3, 3)).astype(np.float32)}
    return model(nodes, {"input": ["N", 3, 8, 8]}, {"scores": ["N", 6], "boxes": ["N", 6, 8, 8]}, weights)


def save(proto: Any, path: Path, card: str | None = None) -> Path:
    """Write a model, and its card beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(proto, str(path))
    if card is not None:
        path.with_suffix(".toml").write_text(card, encoding="utf-8")
    return path


def samples(count: int, *, seed: int = 2, shape: Sequence[int] = (3, 8, 8)) -> Array:
    return np.random.default_rng(seed).normal(0, 0.6, (count, *shape)).astype(np.float32)


def save_samples(path: Path, count: int = 40, *, seed: int = 2, labels: Array | None = None) -> Path:
    """An ``.npz`` for `classifier`."""
    arrays: dict[str, Array] = {"input": samples(count, seed=seed)}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(path, **arrays)
    return path


def run(proto: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The model's outputs by onnxruntime, without any optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
