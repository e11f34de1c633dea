"""Measures variants on this device, in turns of shuffled order, within a number of seconds.

Variants are measured in groups that are open together, so that a slow moment of the machine hits all of a group; each group is in the table, and
on disk, before the next one begins. The clock decides when to stop, never the number of variants.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.errors import EdgewrightError, Unfit
from ...core.measurement import Latency
from ...profiling.latency import measure_interleaved
from .costs import Cost, CostTable
from .micro import micro_model
from .plan import Variant

GROUP = 8
SECONDS_OF_EACH = 0.06
WARMUP_S = 0.01
MIN_SAMPLES = 12
MAX_MEASUREMENTS = 300
Call = Callable[[], object]


class Opener(Protocol):
    """Opens a model on the backend that is searched for."""

    def __call__(self, model: Any) -> AbstractContextManager[Call]:
        """One inference of `model` as a call, while the context is open.

        Raises:
            EdgewrightError: the backend cannot build or run it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """How to measure. `energy` tells the millijoules of a call, None where no sensor can; `most` bounds one run's measurements."""

    opened: Opener
    energy: Callable[[Call], float | None] | None = None
    most: int = MAX_MEASUREMENTS
    cancel: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Measured:
    """`new` variants were measured, `left` were not for want of time, `refused` cannot run on this backend."""

    new: int
    left: int
    refused: tuple[Variant, ...]


def measure_variants(
    variants: Sequence[Variant], table: CostTable, bench: Bench, *, seconds: float, progress: Callable[[float, str], None]
) -> Measured:
    """Put the costs of `variants` into `table`, the first ones first, for at most about `seconds`.

    Raises:
        Unfit: ``cancelled``; what was measured is kept.
    """
    stop = time.monotonic() + seconds
    wanted = list(table.missing(iter(variants)))[: bench.most]
    # Jitter: neighbours in the network are not neighbours in time.
    random.Random(len(wanted)).shuffle(wanted)
    new, refused = 0, []
    for start in range(0, len(wanted), GROUP):
        if bench.cancel():
            raise Unfit("cancelled", "the measurement was cancelled", "Start it again: what was measured is kept")
        if time.monotonic() > stop:
            return Measured(new, len(wanted) - start, tuple(refused))
        group = wanted[start : start + GROUP]
        progress(start / len(wanted), f"timed {start} of {len(wanted)} ways to write a layer")
        found, failed = _measure_group(group, bench)
        table.add(found)
        refused += failed
        new += len(found)
    return Measured(new, 0, tuple(refused))


def _measure_group(group: Sequence[Variant], bench: Bench) -> tuple[Mapping[Variant, Cost], list[Variant]]:
    failed: list[Variant] = []
    with ExitStack() as stack:
        calls: dict[str, Call] = {}
        for variant in group:
            try:
                calls[variant.key] = stack.enter_context(bench.opened(micro_model(variant)))
            except EdgewrightError as error:
                if error.code == "cancelled":
                    raise
                failed.append(variant)
        timed = measure_interleaved(calls, seconds=SECONDS_OF_EACH, warmup_s=WARMUP_S, min_samples=MIN_SAMPLES, cancel=bench.cancel) if calls else {}
        energies = {key: None if bench.energy is None else bench.energy(call) for key, call in calls.items()}
    found = {variant: _cost(timed[variant.key], energies[variant.key]) for variant in group if variant.key in timed}
    return found, failed


def _cost(latency: Latency, energy_mj: float | None) -> Cost:
    middle = latency.p50 if latency.p50 is not None else latency.mean
    low, high = latency.p50_ci95 or (latency.min or middle, latency.max or middle)
    return Cost(ms=middle, spread_ms=(high - low) / 2, energy_mj=energy_mj)
