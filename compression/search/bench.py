"""Measures variants on this device, in turns of shuffled order, within a number of seconds.

Variants are measured in groups that are open together, so that a slow moment of the machine hits all of a group. One variant, the anchor, is in
every group: a group in which it took longer than in the first was measured at a slow time, and all of it is scaled back. Each group is in the
table, and on disk, before the next one begins. The clock decides when to stop, never the number of variants.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.costs import Cost
from ...core.errors import EdgewrightError, Unfit
from ...core.measurement import Latency
from ...profiling.latency import measure_interleaved
from ..network import chain_macs
from .costs import CostTable
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
    if not variants:
        return Measured(0, 0, ())
    wanted = list(table.missing(iter(variants)))[: bench.most]
    # Jitter: neighbours in the network are not neighbours in time.
    anchor = _anchor(variants)
    random.Random(len(wanted)).shuffle(wanted)
    if anchor in wanted:
        wanted.remove(anchor)
        wanted.insert(0, anchor)
    new = 0
    refused: list[Variant] = []
    for start in range(0, len(wanted), GROUP):
        if bench.cancel():
            raise Unfit("cancelled", "the measurement was cancelled", "Start it again: what was measured is kept")
        if time.monotonic() > stop:
            return Measured(new, len(wanted) - start, tuple(refused))
        group = wanted[start : start + GROUP]
        progress(start / len(wanted), f"timed {start} of {len(wanted)} ways to write a layer")
        found, failed = _measure_group(group if anchor in group else [*group, anchor], bench)
        known = table.get(anchor)
        slow = found[anchor].ms / known.ms if known is not None and anchor in found else 1.0
        found = {variant: _scaled(cost, slow) for variant, cost in found.items() if variant in group}
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


def _anchor(variants: Sequence[Variant]) -> Variant:
    """The variant with the most work as it is in the network: long enough that its own noise is small."""
    return max(variants, key=lambda variant: chain_macs(variant.chain, variant.size) if len(variant.chain) == 1 else 0)


def _scaled(cost: Cost, slow: float) -> Cost:
    return Cost(ms=cost.ms / slow, spread_ms=cost.spread_ms / slow, energy_mj=cost.energy_mj)


def _cost(latency: Latency, energy_mj: float | None) -> Cost:
    return Cost(ms=latency.middle, spread_ms=latency.middle_spread, energy_mj=energy_mj)
