"""Runs a part of a model over the samples and yields the tensors that were asked for, one batch at a time; turns them into rows of a layer.

A row is one output position of one sample: what the layer's weights are multiplied with, and what came out. Positions are drawn by chance,
the same for every tensor of a batch, so that what is kept is bounded by the layer and not by the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..core.errors import Rejected, Unfit
from ..engines.base import Runner
from ..engines.ort.runner import open_on_cpu
from .network import Floats, Layer
from .samples import Batch, Samples

Array = npt.NDArray[Any]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Engine:
    """How sub-models run: threads of the runtime (0 = all cores), and whether to stop."""

    threads: int = 0
    cancel: Cancel = lambda: False


def submodel(model: Any, tensors: Sequence[str], given: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The part of `model` that makes `tensors`, which become its outputs; shares nothing with `model`.

    What is `given` (an array by tensor name) is fed and not computed again.
    """
    graph = model.graph
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    wanted, needed, names = list(tensors), set(), set(tensors)
    while wanted:
        name = wanted.pop()
        index = producers.get(name)
        if index is None or index in needed or name in given:
            continue
        needed.add(index)
        read = read_by(graph.node[index])
        names.update(read)
        wanted.extend(read)
    part = onnx.ModelProto()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(node for index, node in enumerate(graph.node) if index in needed)
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in names)
    part.graph.input.extend(value for value in graph.input if value.name in names and value.name not in given)
    for name, value in given.items():
        if name in names:
            kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            part.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None, *value.shape[1:]]))
    known = {value.name: value for value in (*graph.output, *graph.value_info)}
    for name in tensors:
        kind = known[name].type.tensor_type.elem_type if name in known else onnx.TensorProto.FLOAT
        part.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return part


def read_by(node: Any) -> list[str]:
    """The tensors that `node` reads, inside nested graphs too."""
    return [name for name in node.input if name] + [name for entry in node.attribute for name in _captured(entry)]


def _captured(entry: Any) -> Iterator[str]:
    if entry.type == onnx.AttributeProto.GRAPH:
        for node in entry.g.node:
            yield from node.input
            for inner in node.attribute:
                yield from _captured(inner)


def stream(model: Any, tensors: Sequence[str], samples: Samples, engine: Engine) -> Iterator[dict[str, Array]]:
    """The values of `tensors` (graph inputs among them), batch by batch.

    Raises:
        Rejected: ``activation-not-finite``.
        Unfit: ``cancelled``.
    """
    return Frontier(model, samples, engine).stream(tensors)


class Frontier:
    """Walks through a model in order and holds what was computed on the way, so that each part of it runs once.

    The model may change behind the frontier's back, but only what is not held depends on.
    """

    def __init__(self, model: Any, samples: Samples, engine: Engine) -> None:
        self._model = model
        self._samples = samples
        self._engine = engine
        self._held: list[dict[str, Array]] = [{} for _ in samples.batches]

    def stream(self, tensors: Sequence[str], hold: Sequence[str] = ()) -> Iterator[dict[str, Array]]:
        """The values of `tensors` and of `hold`, batch by batch; those of `hold` are kept."""
        fed = {value.name for value in self._model.graph.input}
        given = self._held[0]
        wanted = list(dict.fromkeys([*tensors, *hold]))
        computed = [name for name in wanted if name not in fed and name not in given]
        runner = self._opened(computed) if computed else None
        names = [] if runner is None else [spec.name for spec in runner.inputs]
        for batch, held in zip(self._samples.batches, self._held, strict=True):
            if self._engine.cancel():
                raise Unfit("cancelled", "the compression was cancelled", "Start it again")
            known = batch.feeds | held
            made: dict[str, Array] = {} if runner is None else runner.infer({name: known[name] for name in names})
            for name, value in made.items():
                _check_finite(name, value, batch)
            values = known | made
            held.update({name: values[name] for name in hold if name not in fed})
            yield {name: values[name] for name in wanted}

    def _opened(self, tensors: Sequence[str]) -> Runner:
        """A runner of what makes `tensors` from what is held; its model is not kept beside it."""
        part = submodel(self._model, tensors, self._held[0])
        return open_on_cpu(part.SerializeToString(), "the model", threads=self._engine.threads)

    def forget(self, future: Collection[str]) -> None:
        """Drop what none of the tensors in `future` depends on."""
        producers = {name: node for node in self._model.graph.node for name in node.output if name}
        waiting, seen = list(future), set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name not in self._held[0] and name in producers:
                waiting.extend(read_by(producers[name]))
        for held in self._held:
            for name in [name for name in held if name not in seen]:
                del held[name]


def _check_finite(name: str, value: Array, batch: Batch) -> None:
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        message = f"the tensor {name!r} became NaN or infinite at samples {batch.start} to {batch.start + batch.count - 1}"
        raise Rejected("activation-not-finite", message, "Check those samples and the model card's mean and std")


@dataclass(frozen=True, slots=True)
class Positions:
    """Which output positions of a batch become rows: one index array per spatial axis."""

    indices: tuple[npt.NDArray[np.intp], ...]

    @classmethod
    def draw(cls, layer: Layer, batch: Batch, per_sample: int) -> Positions:
        """`per_sample` positions of the layer's output, the same for all samples of the batch and for every call."""
        size = layer.geometry.size_after(layer.size) if layer.geometry.kernel else layer.size
        total = math.prod(size)
        if per_sample >= total:
            flat = np.arange(total)
        else:
            flat = np.sort(np.random.default_rng([batch.start, total, per_sample]).choice(total, per_sample, replace=False))
        return cls(tuple(np.unravel_index(flat, size)))

    def inputs(self, layer: Layer, value: Array, count: int) -> Floats:
        """What the layer's weights see: rows × groups × fan-in."""
        geometry = layer.geometry
        if not geometry.kernel:
            return np.asarray(value.reshape(len(value), -1, geometry.channels_in)[:count, self.indices[0]].reshape(-1, 1, geometry.channels_in))
        rank = len(geometry.kernel)
        margins = [(0, 0), (0, 0), *((geometry.pads[i], geometry.pads[rank + i]) for i in range(rank))]
        padded = np.pad(value[:count], margins) if any(geometry.pads) else value[:count]
        reach = [dilation * (window - 1) + 1 for dilation, window in zip(geometry.dilations, geometry.kernel, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
        at = tuple(index * stride for index, stride in zip(self.indices, geometry.strides, strict=True))
        pick: Any = (slice(None), slice(None), *at)
        every: Any = (slice(None), slice(None), slice(None), *(slice(None, None, dilation) for dilation in geometry.dilations))
        taken = windows[pick][every]  # samples × channels × positions × window
        samples, channels, positions = taken.shape[:3]
        grouped = taken.reshape(samples, geometry.groups, channels // geometry.groups, positions, geometry.taps)
        return np.asarray(grouped.transpose(0, 3, 1, 2, 4).reshape(samples * positions, geometry.groups, geometry.fan_in))

    def outputs(self, layer: Layer, value: Array, count: int) -> Floats:
        """The layer's outputs (or a tensor of the same shape): rows × channels."""
        if not layer.geometry.kernel:
            return np.asarray(value.reshape(len(value), layer.size[0], -1)[:count, self.indices[0]].reshape(-1, layer.geometry.channels_out))
        pick: Any = (slice(0, count), slice(None), *self.indices)
        taken = value[pick]
        return np.asarray(taken.transpose(0, 2, 1).reshape(-1, taken.shape[1]))
