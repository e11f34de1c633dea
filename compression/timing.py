"""Times small models on this device's own runtime: what a way to write a layer really saves."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..engines.ort.runner import open_on_cpu
from .forms._base import Piece
from .network import Geometry, Layer

_MIN_CALLS, _MAX_CALLS = 5, 60
_MIN_S = 0.012
# A layer of a share m of the MACs must run in at most 1 − GAIN·(1 − m) of the time: 0.6 × MACs in 0.75 × the time.
GAIN = 0.625
# A gain of less is not claimed.
NOISE = 0.98


@dataclass(frozen=True, slots=True)
class RuntimeStopwatch:
    """The `Stopwatch` of ONNX Runtime on the CPU, one thread as in deployment."""

    threads: int = 1

    def ms(self, model: Any) -> float:
        runner = open_on_cpu(model.SerializeToString(), "a layer", threads=self.threads)
        with runner:
            feeds = {spec.name: np.ones([axis or 1 for axis in spec.shape], spec.dtype) for spec in runner.inputs}
            runner.infer(feeds)
            least, spent, calls = math.inf, 0.0, 0
            while calls < _MIN_CALLS or (spent < _MIN_S and calls < _MAX_CALLS):
                started = time.perf_counter()
                runner.infer(feeds)
                elapsed = time.perf_counter() - started
                least, spent, calls = min(least, elapsed), spent + elapsed, calls + 1
        return least * 1e3


def is_worth_it(macs_share: float, time_share: float) -> bool:
    """Whether the time saved is what the MACs saved promise."""
    return time_share <= min(1 - GAIN * (1 - macs_share), NOISE)


def chain_model(layer: Layer, pieces: Sequence[Geometry], opset: int) -> Any:
    """A model of `pieces` in a row at the layer's own size, with a Relu behind them as networks have it."""
    rng = np.random.default_rng(0)
    weights = [Piece(piece, rng.standard_normal(_shape(piece)) / math.sqrt(piece.fan_in)) for piece in pieces]
    nodes, constants, source = [], [], "x"
    for number, piece in enumerate(weights):
        target, name = f"y{number}", f"w{number}"
        constants += [
            numpy_helper.from_array(piece.weight.astype(np.float32), name),
            numpy_helper.from_array(np.zeros(len(piece.weight), np.float32), f"b{number}"),
        ]
        g = piece.geometry
        attributes: dict[str, Any] = {"transB": 1}
        if g.kernel:
            attributes = {"strides": list(g.strides), "dilations": list(g.dilations), "pads": list(g.pads), "group": g.groups}
        nodes.append(helper.make_node("Conv" if g.kernel else "Gemm", [source, name, f"b{number}"], [target], **attributes))
        source = target
    nodes.append(helper.make_node("Relu", [source], ["y"]))
    shape = [1, pieces[0].channels_in, *layer.size] if pieces[0].kernel else [*layer.size, pieces[0].channels_in]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _shape(geometry: Geometry) -> tuple[int, ...]:
    return (geometry.channels_out, geometry.channels_in // geometry.groups, *geometry.kernel)
