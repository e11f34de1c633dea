"""Runs the FP32 model over the samples and observes the tensors that will carry Q/DQ.

The tensors are outputs of the model that is run here; nothing is kept of a batch once it was observed, so that memory does not grow with
the number of samples. Calibration runs on the CPU: it wants the same numbers on every board.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..engines.feeds import cast_feeds, filled_feeds, first_samples, fixed_batch
from ..engines.model import input_specs
from ..engines.ort.providers import CPU
from ..engines.ort.runner import OnnxRuntimeRunner, open_runner
from .observers import ChannelMeans, Extremes, Histogram

Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Watch:
    """What to keep of the observed tensors: extremes of all of them, histograms or not, channel means of some (tensor → channel axis)."""

    tensors: tuple[str, ...]
    histograms: bool
    channels: dict[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.tensors, *self.channels)))


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of each tensor, over how many samples."""

    extremes: dict[str, Extremes]
    histograms: dict[str, Histogram]
    means: dict[str, ChannelMeans]
    samples: int

    @classmethod
    def nothing(cls, watch: Watch, samples: int) -> Observed:
        return cls(
            {name: Extremes() for name in watch.names},
            {name: Histogram() for name in watch.tensors} if watch.histograms else {},
            {name: ChannelMeans(axis) for name, axis in watch.channels.items()},
            samples,
        )

    def add(self, name: str, values: npt.NDArray[np.float32]) -> bool:
        """Returns False when NaN or infinity is among `values`."""
        if values.size == 0:
            return True
        if not self.extremes[name].add(values):
            return False
        if name in self.histograms:
            self.histograms[name].add(values)
        if name in self.means:
            self.means[name].add(values)
        return True


def observe(model: Any, watch: Watch, dataset: Dataset, *, threads: int, batch: int, progress: Callable[[float], None], cancel: Cancel) -> Observed:
    """Stream all of `dataset` through `model`.

    Raises:
        Rejected: ``activation-not-finite`` (which tensor, which sample), and the dataset's own errors.
        Unfit: ``cancelled``.
    """
    observed = Observed.nothing(watch, dataset.samples)
    specs = input_specs(model)
    fixed = fixed_batch(specs)
    with _open(with_outputs(model, watch.names), threads) as runner:
        for group in dataset.batches(fixed or batch):
            if cancel():
                raise Unfit("cancelled", "the calibration was cancelled", "Start it again")
            run = fixed or group.size
            feeds = filled_feeds(cast_feeds(group.feeds, specs), run)
            values = first_samples({**feeds, **runner.infer(feeds)}, group.size, run)
            for name in watch.names:
                if not observed.add(name, values[name]):
                    raise _not_finite(name, group.start, group.start + group.size)
            progress((group.start + group.size) / dataset.samples)
    return observed


def with_outputs(model: Any, tensors: tuple[str, ...]) -> Any:
    """A copy of `model` that also gives `tensors`, which are float32."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    present = {value.name for value in (*graph.input, *graph.output)}
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors if name not in present)
    return observed


def _open(model: Any, threads: int) -> OnnxRuntimeRunner:
    try:
        data = model.SerializeToString()
    except ValueError as error:
        raise Unfit("model-too-large", f"the model is too large to calibrate: {error}", "Models above 2 GB are not supported yet") from error
    return open_runner(data, "the model", threads=threads, providers=[(CPU, {})])


def _not_finite(name: str, first: int, stop: int) -> Rejected:
    where = f"sample {first}" if stop == first + 1 else f"samples {first} to {stop - 1}"
    message = f"the tensor {name!r} became NaN or infinite at {where}"
    return Rejected("activation-not-finite", message, "Check that sample and the model card's mean and std")
