"""Keeps a fixed number of samples on disk, chosen by their content, so that the choice does not depend on their order.

Kept are the samples with the smallest checksums: as good as drawn by lot, and the same for the same set of samples.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from .spool import Spool

Array = npt.NDArray[Any]
_HASHED_VALUES = 4096


class KeptSamples:
    """At most `capacity` samples. A context manager: leaving it removes their files from `folder`."""

    def __init__(self, folder: Path, capacity: int) -> None:
        self._capacity = capacity
        self._spool = Spool(folder)
        self._heap: list[tuple[int, int]] = []
        self._names: tuple[str, ...] = ()

    def offer(self, sample: Mapping[str, Array], position: int) -> tuple[int, dict[str, Array]] | None:
        """Take in one sample (first axis of length 1); returns the one that had to give way, which may be this one, with its position."""
        self._names = tuple(sample)
        checksum = sample_checksum(sample)
        if len(self._heap) >= self._capacity:
            if (-checksum, -position) <= self._heap[0]:
                return position, dict(sample)
            evicted = -heapq.heapreplace(self._heap, (-checksum, -position))[1]
            given = evicted, self.sample(evicted)
            for name in self._names:
                self._spool.drop(f"{evicted}/{name}")
        else:
            heapq.heappush(self._heap, (-checksum, -position))
            given = None
        for name, values in sample.items():
            self._spool.add(f"{position}/{name}", np.ascontiguousarray(values))
        return given

    @property
    def positions(self) -> list[int]:
        """The kept samples in the order of their checksums."""
        return [-position for _, position in sorted(self._heap, reverse=True)]

    def sample(self, position: int) -> dict[str, Array]:
        return {name: self._spool.get(f"{position}/{name}", 0) for name in self._names}

    def __enter__(self) -> KeptSamples:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._spool.__exit__(kind, error, trace)


def sample_checksum(sample: Mapping[str, Array]) -> int:
    """A checksum of evenly spread values of every input."""
    checksum = 0
    for name in sorted(sample):
        flat = sample[name].reshape(-1)
        checksum = zlib.crc32(np.ascontiguousarray(flat[:: max(1, flat.size // _HASHED_VALUES)]).tobytes(), checksum)
    return checksum
