"""The measuring stage: fidelity of every engine against FP32, then latency interleaved, then energy. Always through the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.dataset import Dataset
from ..core.errors import Unfit
from ..core.measurement import Conditions, Energy, Fidelity, Latency
from ..core.tensors import TensorSpec
from ..engines.base import BuildOptions, Runner, Tensors
from ..engines.discovery import load_backend
from ..engines.feeds import cast_feeds, filled_feeds, first_samples
from ..engines.fidelity import FidelityMeter
from ..engines.shapes import profile_toml, shape_words
from ..profiling.conditions import Workload, conditions_between, take_snapshot
from ..profiling.energy_run import measure_energy
from ..profiling.latency import measure_interleaved
from .subject import Subject

Cancel = Callable[[], bool]
Progress = Callable[[float, str], None]
Turn = Callable[[str], None]
# Twenty readings of the sensor; one that averages lengthens its window itself.
MIN_ENERGY_S = 2.0


@dataclass(frozen=True, slots=True)
class EngineUnderTest:
    """A built engine that is to be measured. `logits` is the same engine without its final Softmax, where one could be made."""

    backend: str
    engine: Path
    options: BuildOptions
    logits: Path | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Latency and energy of one engine, with the conditions."""

    latency_ms: Latency
    energy_mj: Energy | None
    energy_reason: str | None
    conditions: Conditions


def _nobody(_name: str) -> None:
    """Nobody hears whose turn it is."""


def open_engine(entry: EngineUnderTest, engine: Path | None = None) -> Runner:
    return load_backend(entry.backend).open(engine or entry.engine, entry.options)


def measure_fidelity(
    subject: Subject,
    reference: str,
    engines: Mapping[str, EngineUnderTest],
    dataset: Dataset,
    measured_on: Literal["evaluation", "calibration"],
    *,
    progress: Progress,
    cancel: Cancel,
    at: Turn = _nobody,
) -> dict[str, Fidelity]:
    """Run all `engines` over `dataset`, sample by sample or in the model's own batch, against the one named `reference`: FP32.

    `at` hears whose turn it is, before anything of that engine runs.
    """
    sees_logits = all(entry.logits is not None for entry in engines.values())
    meters = {name: FidelityMeter(subject.classified, {} if sees_logits else subject.softmax) for name in engines}
    size = subject.fixed_batch or 1
    runners: dict[str, Runner] = {}
    with ExitStack() as stack:
        for name, entry in engines.items():
            at(name)
            runners[name] = stack.enter_context(open_engine(entry, entry.logits if sees_logits else None))
        for batch in dataset.batches(size):
            if cancel():
                raise Unfit("cancelled", "the measurement was cancelled", "Start it again")
            feeds = filled_feeds(batch.feeds, size)
            outputs = {}
            for name, runner in runners.items():
                at(name)
                outputs[name] = first_samples(runner.infer(cast_feeds(feeds, runner.inputs)), batch.size, size)
            for name, meter in meters.items():
                meter.add(outputs[reference], outputs[name], batch.size, batch.labels)
            done = batch.start + batch.size
            progress(done / dataset.samples, f"compared {done} of {dataset.samples} samples")
    return {name: meter.fidelity(measured_on) for name, meter in meters.items()}


def measure_timing(
    engines: Mapping[str, EngineUnderTest],
    feeds: Mapping[str, Tensors | None],
    *,
    seconds: float,
    batch: int,
    cancel: Cancel | None = None,
    at: Turn = _nobody,
) -> dict[str, Timing]:
    """Latency of all engines interleaved, then the energy of each; `feeds` by engine, None = zeros of the right shapes. `at` as in
    `measure_fidelity`.
    """
    with ExitStack() as stack:
        calls: dict[str, Callable[[], object]] = {}
        providers: dict[str, str] = {}
        for name, entry in engines.items():
            at(name)
            runner = stack.enter_context(open_engine(entry))
            given = feeds[name]
            inputs = zeros_for(runner.inputs, batch) if given is None else cast_feeds(given, runner.inputs)
            calls[name] = _call(runner, inputs)
            providers[name] = runner.provider
        before = take_snapshot()
        latencies = measure_interleaved(calls, seconds=seconds, cancel=cancel, at=at)
        after = take_snapshot()
        timings = {}
        for name, entry in engines.items():
            at(name)
            version = load_backend(entry.backend).capabilities().version
            workload = Workload(entry.options.threads, batch, entry.backend, version, providers[name])
            energy = measure_energy(calls[name], seconds=max(MIN_ENERGY_S, seconds), cancel=cancel, workload=workload)
            # The latency's own conditions, unless energy was measured: then those of the longer run, with what the sensor is.
            timings[name] = Timing(latencies[name], energy.energy, energy.reason, energy.conditions or conditions_between(before, after, workload))
    return timings


def _call(runner: Runner, inputs: Tensors) -> Callable[[], object]:
    infer = runner.infer
    return lambda: infer(inputs)


def first_feeds(dataset: Dataset, batch: int) -> Tensors:
    """The first `batch` samples, the last one repeated when there are fewer."""
    return filled_feeds(next(dataset.batches(batch)).feeds, batch)


def zeros_for(inputs: tuple[TensorSpec, ...], batch: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Tensors:
    """Zeros for inputs whose only free axis is the first, or whose shape stands in `shapes`.

    Raises:
        Unfit: ``shapes-unknown`` naming the inputs, with the lines to add to the card.
    """
    feeds = {}
    unknown = []
    for spec in inputs:
        shape = [batch if position == 0 and axis is None else axis for position, axis in enumerate(spec.shape)]
        if None in shape and shapes is not None and len(shapes.get(spec.name, ())) == len(shape):
            shape = list(shapes[spec.name])
        if None in shape:
            unknown.append(spec)
        else:
            feeds[spec.name] = np.zeros([axis or 1 for axis in shape], spec.dtype)
    if unknown:
        names = ", ".join(f"{spec.name!r} ({shape_words(spec.shape)})" for spec in unknown)
        hint = f"Give --calibration DATA, or add to the model card, with the sizes that you use:\n{profile_toml(unknown)}"
        raise Unfit("shapes-unknown", f"nothing says the free axes of {names}", hint)
    return feeds
