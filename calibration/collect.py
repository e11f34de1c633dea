"""Runs the FP32 model over the samples and observes the tensors that will carry Q/DQ.

Every sample passes through the model exactly once. Nothing is kept of a batch once it was observed, so that memory does not grow with the
number of samples; a fixed number of samples is kept on disk for what comes later. Calibration runs on the CPU: it wants the same numbers
on every board.

`until_converged`: only the kept samples are observed, in rounds of 8, 8, 16 and 32. A tensor is left alone from the round on that moved
neither end of what was seen by more than `CONVERGED` of its width, once it has shown `MIN_VALUES`; how many samples it saw stands with
its range. The model is opened anew, with fewer probes, when half of them have nothing left to do and enough samples are left to pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ..core.dataset import Dataset
from ..core.errors import Rejected, Unfit
from ..engines.feeds import cast_feeds, filled_feeds, first_samples, fixed_batch
from ..engines.model import input_specs
from ..engines.ort.runner import OnnxRuntimeRunner, open_on_cpu
from .keep import KeptSamples
from .observers import Extremes, Histogram, thinned
from .probes import Probe, probed
from .ranges import METHODS
from .table import Range, RangeTable

Array = npt.NDArray[Any]
Cancel = Callable[[], bool]
CONVERGED = 0.05
FEW_SAMPLES = 32
MIN_VALUES = 3 << 14
ROUNDS = (8, 16, 32, 64)
MIN_SAMPLES_OPENED_FOR = 32


@dataclass(slots=True)
class Seen:
    """What was seen of one tensor, over how many samples."""

    extremes: Extremes
    histogram: Histogram | None
    samples: int = 0
    values: int = 0

    def add(self, values: Array, peak: Array | None, samples: int) -> bool:
        """Take in all or part of the tensor; `peak` as in `Extremes`. Returns False when NaN or infinity is there."""
        self.samples += samples
        if values.size == 0:
            return True
        if not self.extremes.add(values, peak):
            return False
        counted = thinned(values, samples)
        self.values += counted.size
        if self.histogram is not None:
            self.histogram.add(counted)
        return True


@dataclass(frozen=True, slots=True)
class Watch:
    """What to observe, and how. `threads` 0 = all cores; `batch` is used where the model leaves it free."""

    tensors: tuple[str, ...]
    histograms: bool
    until_converged: bool = False
    threads: int = 0
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of each tensor; `samples` passed through the model."""

    seen: dict[str, Seen]
    samples: int

    def table(self, model_digest: str, method: str) -> RangeTable:
        """The ranges that `method` chooses."""
        ranges = {}
        for name, seen in self.seen.items():
            low, high = METHODS[method](seen.extremes, seen.histogram)
            ranges[name] = Range(low, high, method, seen.samples)
        return RangeTable(model=model_digest, ranges=ranges)

    def warnings(self) -> list[str]:
        """What a person should know about the ranges."""
        found: list[str] = []
        if self.samples < FEW_SAMPLES:
            found.append(f"only {self.samples} samples: ranges may be too narrow; a few hundred calibrate well")
        constant = [name for name, seen in self.seen.items() if seen.extremes.low >= seen.extremes.high]
        if constant:
            found.append(f"{len(constant)} tensors never changed, {constant[0]!r} among them: the samples or the model may be degenerate")
        return found


def observe(
    model: Any,
    watch: Watch,
    dataset: Dataset,
    kept: KeptSamples,
    *,
    progress: Callable[[float], None] = lambda _: None,
    cancel: Cancel = lambda: False,
) -> Observed:
    """Stream all of `dataset` through `model`, and let `kept` keep samples of it.

    Raises:
        Rejected: ``activation-not-finite`` (which tensor, which sample), and the dataset's own errors.
        Unfit: ``cancelled``.
    """
    with _Observer(model, watch, dataset.samples, progress, cancel) as observer:
        observer.open(() if watch.until_converged else watch.tensors, dataset.samples)
        for batch in dataset.batches(observer.batch):
            singles = [(batch.start + i, {name: values[i : i + 1] for name, values in batch.feeds.items()}) for i in range(batch.size)]
            given = [kept.offer(sample, position) for position, sample in singles]
            observer.run([entry for entry in given if entry is not None] if watch.until_converged else singles)
        if watch.until_converged:
            observer.run_rounds(kept)
        return Observed(observer.seen, dataset.samples)


def keep_samples(dataset: Dataset, kept: KeptSamples, *, cancel: Cancel = lambda: False) -> None:
    """Let `kept` keep samples of `dataset`, and run nothing.

    Raises:
        Unfit: ``cancelled``.
    """
    for batch in dataset.batches(1):
        _stop_if(cancel)
        kept.offer(batch.feeds, batch.start)


def observe_kept(model: Any, watch: Watch, kept: KeptSamples, *, cancel: Cancel = lambda: False) -> Observed:
    """Observe `model` on the kept samples."""
    positions = kept.positions
    with _Observer(model, watch, len(positions), lambda _: None, cancel) as observer:
        observer.open(watch.tensors, len(positions))
        observer.run_kept(kept, positions)
        return Observed(observer.seen, len(positions))


class _Observer:
    """Runs a model and adds up what is seen. A context manager: leaving it closes the model."""

    def __init__(self, model: Any, watch: Watch, samples: int, progress: Callable[[float], None], cancel: Cancel) -> None:
        self._model, self._watch, self._samples, self._progress, self._cancel = model, watch, samples, progress, cancel
        self._specs = input_specs(model)
        self._fixed = fixed_batch(self._specs)
        self._done = 0
        self._runner: OnnxRuntimeRunner | None = None
        self._probes: tuple[Probe, ...] = ()
        self._active: tuple[str, ...] = ()
        self.batch = self._fixed or watch.batch
        self.seen = {name: Seen(Extremes(), Histogram() if watch.histograms else None) for name in watch.tensors}

    def __enter__(self) -> _Observer:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def open(self, tensors: tuple[str, ...], samples: int) -> None:
        """From now on, for so many `samples`, observe `tensors`."""
        self._active = tensors
        present = {probe.tensor for probe in self._probes}
        is_worth_it = len(tensors) * 2 < len(present) and samples > MIN_SAMPLES_OPENED_FOR
        if self._runner is not None and present.issuperset(tensors) and not is_worth_it:
            return
        self._close()
        found = probed(self._model, tensors)
        self._probes = found.probes
        self._runner = open_model(found.model, self._watch.threads, is_steady=True)

    def run(self, samples: list[tuple[int, dict[str, Array]]]) -> None:
        """Pass `samples`, at most a batch, through the model and observe them."""
        _stop_if(self._cancel)
        if not samples:
            return
        assert self._runner is not None
        joined = {name: np.concatenate([sample[name] for _, sample in samples]) for name in samples[0][1]} if len(samples) > 1 else samples[0][1]
        size = self._fixed or len(samples)
        feeds = filled_feeds(cast_feeds(joined, self._specs), size)
        values = first_samples({**feeds, **self._runner.infer(feeds)}, len(samples), size)
        for probe in self._probes:
            if probe.tensor not in self._active:
                continue
            peak = None if probe.peak is None else values[probe.peak]
            if not self.seen[probe.tensor].add(values[probe.values], peak, len(samples)):
                raise _not_finite(probe.tensor, [position for position, _ in samples])
        self._check_outputs(values, samples)
        self._done += len(samples)
        self._progress(self._done / self._samples)

    def _check_outputs(self, values: Mapping[str, Array], samples: list[tuple[int, dict[str, Array]]]) -> None:
        """What became NaN on the way reaches an output, also of samples that no tensor is observed on."""
        for value in self._model.graph.output:
            found = values.get(value.name)
            if found is not None and found.dtype.kind == "f" and found.size and np.isnan(found.min()):
                raise _not_finite(value.name, [position for position, _ in samples])

    def run_kept(self, kept: KeptSamples, positions: list[int]) -> None:
        for start in range(0, len(positions), self.batch):
            self.run([(position, kept.sample(position)) for position in positions[start : start + self.batch]])

    def run_rounds(self, kept: KeptSamples) -> None:
        """Observe the kept samples until the tensors have converged; all of them pass through the model."""
        first, positions, tensors = 0, kept.positions, self._watch.tensors
        for stop in (*ROUNDS, len(positions)):
            self.open(tensors, len(positions) - first)
            before = {name: (self.seen[name].extremes.low, self.seen[name].extremes.high) for name in tensors}
            self.run_kept(kept, positions[first:stop])
            if first:
                tensors = tuple(name for name in tensors if self.seen[name].values < MIN_VALUES or has_moved(before[name], self.seen[name].extremes))
            first = stop
            if first >= len(positions):
                return

    def _close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def has_moved(before: tuple[float, float], now: Extremes) -> bool:
    """Whether a round moved either end of what was seen by more than `CONVERGED` of its width."""
    width = max(now.high - now.low, 0.0)
    return max(before[0] - now.low, now.high - before[1]) > CONVERGED * width


def with_outputs(model: Any, tensors: tuple[str, ...]) -> Any:
    """A copy of `model` that also gives `tensors`, which are float32."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    present = {value.name for value in (*graph.input, *graph.output)}
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors if name not in present)
    return observed


def open_model(model: Any, threads: int, *, is_steady: bool = False) -> OnnxRuntimeRunner:
    """`model` on the CPU; `is_steady` when run follows upon run.

    Raises:
        Unfit: ``model-too-large``.
    """
    try:
        data = model.SerializeToString()
    except ValueError as error:
        raise Unfit("model-too-large", f"the model is too large to calibrate: {error}", "Models above 2 GB are not supported yet") from error
    return open_on_cpu(data, "the model", threads=threads, is_frugal=not is_steady, is_steady=is_steady)


def _stop_if(cancel: Cancel) -> None:
    if cancel():
        raise Unfit("cancelled", "the calibration was cancelled", "Start it again")


def _not_finite(name: str, positions: list[int]) -> Rejected:
    where = f"sample {positions[0]}" if len(positions) == 1 else f"samples {min(positions)} to {max(positions)}"
    message = f"the tensor {name!r} became NaN or infinite at {where}"
    return Rejected("activation-not-finite", message, "Check that sample and the model card's mean and std")
