"""The inputs that a compression works on: read from the dataset once, kept in memory within a bound.

Every layer is fitted in a pass of its own over the same inputs; decoding pictures each time would cost more than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.dataset import Dataset
from ..engines.feeds import cast_feeds, filled_feeds, fixed_batch
from ..engines.model import input_specs

MAX_SAMPLES = 256
MAX_INPUT_BYTES = 256 << 20
BATCH = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs by name. `count` of them are samples; a model of fixed batch gets the last one repeated."""

    start: int
    count: int
    feeds: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """At most `MAX_SAMPLES` samples in batches; `count` in all, `offered` in the dataset."""

    batches: tuple[Batch, ...]
    count: int
    offered: int

    def first(self, count: int) -> Samples:
        """The first batches that hold at least `count` samples."""
        kept: list[Batch] = []
        total = 0
        for batch in self.batches:
            if total >= count:
                break
            kept.append(batch)
            total += batch.count
        return Samples(tuple(kept), total, self.offered)


def read_samples(dataset: Dataset, model: Any, limit: int = MAX_SAMPLES) -> Samples:
    """Read up to `limit` samples of `dataset` for the normalised `model`, fewer when they would not fit `MAX_INPUT_BYTES`."""
    specs = input_specs(model)
    fixed = fixed_batch(specs)
    size = fixed or BATCH
    batches: list[Batch] = []
    count = held_bytes = 0
    for batch in dataset.batches(size, stop=min(limit, dataset.samples)):
        feeds = cast_feeds(filled_feeds(batch.feeds, size) if fixed else batch.feeds, specs)
        held_bytes += sum(value.nbytes for value in feeds.values())
        if batches and held_bytes > MAX_INPUT_BYTES:
            break
        batches.append(Batch(count, batch.size, {name: np.ascontiguousarray(value) for name, value in feeds.items()}))
        count += batch.size
    return Samples(tuple(batches), count, dataset.samples)
