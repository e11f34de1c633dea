"""Repairs the quantised network without training: equalisation, better rounding, gains and biases.

Works on a few kept samples; the order is: factors per channel (`equalize`), ranges of the equalised model, then the walk. A network that
cannot be walked through (nested graphs) is left as it is, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import EdgewrightError, Unfit
from ..engines.feeds import cast_feeds, filled_feeds, fixed_batch
from ..engines.model import input_specs
from .channels import channel_map
from .collect import Watch, observe_kept, open_model, with_outputs
from .equalize import channel_factors, equalized, watched_channels
from .graph import Graph
from .keep import KeptSamples
from .memory import give_memory_back
from .observers import ChannelExtremes, ChannelStatistics
from .plan import Plan
from .spool import Spool
from .table import RangeTable
from .walk import Walk, WalkOptions, not_repairable
from .writer import Dialect, WeightCodes

Array = npt.NDArray[Any]
BATCH_BYTES, MAX_BATCH = 256 << 10, 32
MIN_WALKED = 16


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """Which repairs run; `ends` tries the network's ends in float (see `placement`).

    `walk_bytes` bounds the samples that the walk takes along, by their size. `threads` 0 = all cores.
    """

    ends: bool = True
    equalize: bool = True
    bias: bool = True
    gain: bool = True
    second_order: bool = True
    walk_bytes: int = 20 << 20
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """The equalised network, its ranges, and the weights that the walk found."""

    graph: Graph
    table: RangeTable
    weights: dict[str, WeightCodes]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair. `tensors` are those that need ranges afterwards; temporary files go into `folder`."""

    graph: Graph
    plan: Plan
    table: RangeTable
    dialect: Dialect
    tensors: tuple[str, ...]
    kept: KeptSamples
    folder: Path
    options: RepairOptions
    progress: Callable[[float], None]
    cancel: Callable[[], bool]

    def run(self, method: str) -> Repaired:
        """Ranges of the equalised network are chosen by `method`.

        Raises:
            Unfit: ``cancelled``.
        """
        graph, table, notes = self.graph, self.table, []
        if self.options.equalize:
            graph, table = self._equalized(method)
        self.progress(0.3)
        weights: dict[str, WeightCodes] = {}
        try:
            weights = self._walk(graph, table)
        except EdgewrightError as error:
            if not not_repairable(error):
                raise
            notes.append(f"weights and biases were not repaired: {error.message}")
        self.progress(1.0)
        return Repaired(graph, table, weights, tuple(notes))

    def _equalized(self, method: str) -> tuple[Graph, RangeTable]:
        channels = channel_map(self.graph)
        if channels.fixed.all():
            return self.graph, self.table
        statistics = self._statistics([name for name in watched_channels(self.plan) if name in channels.classes])
        give_memory_back()
        factors = channel_factors(self.graph, self.plan, channels, statistics)
        if np.all(factors == 1):
            return self.graph, self.table
        graph = Graph(equalized(self.graph, channels, factors))
        self.progress(0.15)
        histograms = method != "minmax"
        watch = Watch(self.tensors, histograms=histograms, threads=self.options.threads)
        observed = observe_kept(graph.model, watch, self.kept, cancel=self.cancel)
        ranges = self.table.ranges | observed.table(self.table.model, method).ranges
        return graph, RangeTable(model=self.table.model, ranges=ranges)

    def _statistics(self, tensors: list[str]) -> dict[str, ChannelStatistics]:
        found = {name: ChannelExtremes() for name in tensors}
        specs = input_specs(self.graph.model)
        fixed = fixed_batch(specs) or 1
        with open_model(with_outputs(self.graph.model, tuple(tensors)), self.options.threads) as runner:
            for position in self.kept.positions:
                if self.cancel():
                    raise Unfit("cancelled", "the calibration was cancelled", "Start it again")
                feeds = filled_feeds(cast_feeds(self.kept.sample(position), specs), fixed)
                values = {**feeds, **runner.infer(feeds)}
                for name in tensors:
                    found[name].add(values[name][:1])
        return {name: extremes.statistics() for name, extremes in found.items()}

    def _walk(self, graph: Graph, table: RangeTable) -> dict[str, WeightCodes]:
        specs = input_specs(graph.model)
        positions = self.kept.positions
        one = sum(values.nbytes for values in self.kept.sample(positions[0]).values())
        size = fixed_batch(specs) or max(1, min(MAX_BATCH, BATCH_BYTES // max(one, 1)))
        positions = positions[: max(MIN_WALKED, self.options.walk_bytes // max(one, 1))]
        options = WalkOptions(self.options.second_order, self.options.gain, self.options.bias, self.options.threads)
        with Spool(self.folder) as samples:
            batches = 0
            for first in range(0, len(positions), size):
                parts = [self.kept.sample(position) for position in positions[first : first + size]]
                if len(parts) < size and first:
                    break
                joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
                for name, values in filled_feeds(cast_feeds(joined, specs), size if fixed_batch(specs) else len(parts)).items():
                    samples.add(name, values)
                batches += 1
            walk = Walk(
                graph,
                self.plan,
                table,
                self.dialect,
                samples,
                batches,
                self.folder,
                options,
                lambda share: self.progress(0.3 + 0.7 * share),
                self.cancel,
            )
            return walk.weights()
