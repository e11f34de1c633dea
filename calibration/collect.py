"""Runs the FP32 model over the samples and observes the tensors that will carry Q/DQ.

Minimum and maximum are taken inside the graph, by reductions that leave two numbers per tensor; histograms, where a method
needs them, read the tensors themselves, one batch at a time. Nothing is kept of a batch once it was observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..core.dataset import Dataset
from ..core.errors import Faulty, Rejected, Unfit
from ..engines.base import cast_feeds
from ..engines.model import input_specs
from .observers import Extremes, Histogram

_LOW, _HIGH = "//low", "//high"
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of each tensor, over how many samples."""

    extremes: dict[str, Extremes]
    histograms: dict[str, Histogram]
    samples: int


def observe(
    model: Any,
    tensors: tuple[str, ...],
    dataset: Dataset,
    *,
    with_histograms: bool,
    threads: int,
    batch: int,
    progress: Callable[[float], None],
    cancel: Cancel,
) -> Observed:
    """Stream all of `dataset` through `model`.

    Raises:
        Rejected: ``activation-not-finite`` (which tensor, which sample), and the dataset's own errors.
        Unfit: ``cancelled``.
    """
    extremes = {name: Extremes() for name in tensors}
    histograms = {name: Histogram() for name in tensors} if with_histograms else {}
    specs = input_specs(model)
    fed = {spec.name for spec in specs}
    session = open_session(with_observed_outputs(model, tensors, with_values=with_histograms), threads)
    wanted = [name for name in (output.name for output in session.get_outputs()) if _is_observation(name, tensors)]
    size = fixed_batch(model) or batch
    for group in dataset.batches(size):
        if cancel():
            raise Unfit("cancelled", "the calibration was cancelled", "Start it again")
        feeds = cast_feeds(group.feeds, specs)
        values = dict(zip(wanted, session.run(wanted, feeds), strict=True))
        for name in tensors:
            low, high = _extremes_of(name, values, feeds, is_input=name in fed)
            if not (np.isfinite(low) and np.isfinite(high)):
                raise _not_finite(name, group.start, group.start + group.size)
            extremes[name].add(low, high)
            if with_histograms:
                histograms[name].add(feeds[name] if name in fed else values[name])
        progress((group.start + group.size) / dataset.samples)
    return Observed(extremes, histograms, dataset.samples)


def fixed_batch(model: Any) -> int | None:
    """The batch size that the model's inputs prescribe, or None when it is free."""
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].HasField("dim_value") and axes[0].dim_value > 0:
            return int(axes[0].dim_value)
    return None


def with_observed_outputs(model: Any, tensors: tuple[str, ...], *, with_values: bool) -> Any:
    """A copy of `model` that also gives each tensor's smallest and largest value, and the tensor itself `with_values`."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    fed = {value.name for value in graph.input}
    present = {value.name for value in graph.output}
    for name in tensors:
        if name in fed:
            continue
        if with_values:
            if name not in present:
                graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
            continue
        for suffix, op in ((_LOW, "ReduceMin"), (_HIGH, "ReduceMax")):
            graph.node.append(onnx.helper.make_node(op, [name], [name + suffix], name=name + suffix, keepdims=0))
            graph.output.append(onnx.helper.make_tensor_value_info(name + suffix, onnx.TensorProto.FLOAT, []))
    return observed


def open_session(model: Any, threads: int) -> Any:
    """An FP32 session on the CPU: calibration wants the same numbers on every board.

    Raises:
        Rejected: ``operator-unsupported`` or ``model-unreadable``; from the onnxruntime backend's reading of the failure.
    """
    import onnxruntime

    from ..engines.backends.onnxruntime import load_error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        data = model.SerializeToString()
    except ValueError as error:
        raise Unfit("model-too-large", f"the model is too large to calibrate: {error}", "Models above 2 GB are not supported yet") from error
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise load_error("the model", error) from error


def _is_observation(name: str, tensors: tuple[str, ...]) -> bool:
    return name in tensors or name.endswith((_LOW, _HIGH))


def _extremes_of(name: str, values: dict[str, Any], feeds: dict[str, Any], *, is_input: bool) -> tuple[float, float]:
    tensor = feeds.get(name) if is_input else values.get(name)
    if tensor is None:
        return float(values[name + _LOW]), float(values[name + _HIGH])
    if tensor.size == 0:
        raise Faulty("tensor-empty", f"the tensor {name!r} has no elements", "Report this with the model")
    return float(tensor.min()), float(tensor.max())


def _not_finite(name: str, first: int, stop: int) -> Rejected:
    where = f"sample {first}" if stop == first + 1 else f"samples {first} to {stop - 1}"
    message = f"the tensor {name!r} became NaN or infinite at {where}"
    return Rejected("activation-not-finite", message, "Check that sample and the model card's mean and std")
