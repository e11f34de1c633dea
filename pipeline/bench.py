"""``bench``: one engine or model, or two side by side. Measured in turns, so that a slow moment of the machine hits both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.card import ModelCard, card_from_toml
from ..core.dataset import open_dataset
from ..core.statistics import percentile_or_none
from ..core.tensors import TensorSpec
from ..engines.base import BuildOptions, LayerTime, Split, Tensors
from ..engines.discovery import load_backend, usable_backend
from ..engines.feeds import cast_feeds
from ..engines.opening import check_folder
from ..engines.provenance import Trusted
from .measure import EngineUnderTest, Timing, first_feeds, measure_timing, open_engine, zeros_for
from .subject import batch_for, open_subject

SPLIT_RUNS = 20
LAYER_RUNS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured, with what is fed to it."""

    name: str
    engine: EngineUnderTest
    feeds: Tensors
    batch: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast the second is; by the medians and by the means of interleaved calls."""

    by_median: float | None
    by_mean: float


def open_target(path: Path, backend: str | None, options: BuildOptions, data: Path | None, trusted: Trusted) -> Target:
    """An ONNX file, or an engine folder after every check of where it comes from.

    Raises:
        EdgewrightError: what is wrong with it.
    """
    card: ModelCard
    if path.is_dir():
        checked = check_folder(path, trusted)
        built = replace(checked.options, threads=options.threads, batch=options.batch, device_id=options.device_id)
        engine = EngineUnderTest(checked.manifest.backend, checked.engine, built)
        card = card_from_toml(path / checked.manifest.card) if checked.manifest.card else ModelCard()
    else:
        card = open_subject(path).card
        # Without a backend an ONNX file is run as it is: by ONNX Runtime.
        name, _ = usable_backend(backend or "onnxruntime")
        engine = EngineUnderTest(name, path, options)
    with open_engine(engine) as runner:
        inputs = runner.inputs
    batch = batch_for(inputs, options.batch)
    return Target(path.name, engine, _feeds(inputs, card, data, batch), batch)


def _feeds(inputs: tuple[TensorSpec, ...], card: ModelCard, data: Path | None, batch: int) -> Tensors:
    if data is not None:
        return cast_feeds(first_feeds(open_dataset(data, card, inputs), batch), inputs)
    shapes = {key: (batch, *entry.shape_opt[1:]) for key, entry in card.inputs.items() if entry.shape_opt}
    return zeros_for(inputs, batch, shapes)


def time_targets(targets: Sequence[Target], *, seconds: float) -> tuple[Timing, ...]:
    """The timings, in the order of `targets`; interleaved."""
    engines: Mapping[str, EngineUnderTest] = {str(index): target.engine for index, target in enumerate(targets)}
    feeds = {str(index): target.feeds for index, target in enumerate(targets)}
    timings = measure_timing(engines, feeds, seconds=seconds, batch=targets[0].batch)
    return tuple(timings[name] for name in engines)


def ratio_of(first: Timing, second: Timing) -> Ratio:
    medians = (first.latency_ms.p50, second.latency_ms.p50)
    by_median = medians[0] / medians[1] if medians[0] is not None and medians[1] else None
    return Ratio(by_median, first.latency_ms.mean / second.latency_ms.mean)


def measure_split(target: Target) -> Split | None:
    """The median of where the time of an inference goes on an accelerator; None on a CPU."""
    with open_engine(target.engine) as runner:
        splits = [split for split in (runner.split(target.feeds) for _ in range(SPLIT_RUNS)) if split is not None]
    if not splits:
        return None

    def median(values: list[float]) -> float:
        return percentile_or_none(sorted(values), 50) or 0.0

    return Split(
        host_to_device_ms=median([split.host_to_device_ms for split in splits]),
        compute_ms=median([split.compute_ms for split in splits]),
        device_to_host_ms=median([split.device_to_host_ms for split in splits]),
        enqueue_ms=median([split.enqueue_ms for split in splits]),
    )


def layers_of(target: Target) -> tuple[LayerTime, ...]:
    engine = target.engine
    return load_backend(engine.backend).layers(engine.engine, engine.options, target.feeds, LAYER_RUNS)
