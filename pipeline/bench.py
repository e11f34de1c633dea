"""``bench``: one engine or model, or two side by side. Measured in turns, so that a slow moment of the machine hits both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.statistics import percentile_or_none
from ..engines.base import LayerTime, Split
from ..engines.discovery import load_backend
from .measure import EngineUnderTest, Timing, measure_timing, open_engine
from .target import Target

SPLIT_RUNS = 20
LAYER_RUNS = 20


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast the second is; by the medians and by the means of interleaved calls."""

    by_median: float | None
    by_mean: float


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
