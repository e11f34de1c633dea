"""Rows of one layer, taken from both networks: inputs of the compressed one, targets of the original one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..activations import Frontier, Positions
from ..moments import Doubles, Moments, Normal
from ..network import Floats, Layer
from ..samples import Samples
from .targets import Target, within_bounds

MIN_ROWS, MAX_ROWS = 8192, 40_000
MAX_KEPT_BYTES = 160 << 20
_HOLD_OUT_EVERY = 4


@dataclass(slots=True)
class Rows:
    """The normal equations of a layer, of the samples to fit on and of those held out, and the rows themselves where they fit into memory."""

    fit: Moments = field(default_factory=Moments)
    held_out: Moments = field(default_factory=Moments)
    kept: list[tuple[Floats, Floats, Floats | None]] = field(default_factory=list)

    def equations(self) -> tuple[Normal, Normal | None]:
        """Of the rows to fit on, and of those held out (None when there are too few to hold any out). The sums are spent."""
        return self.fit.spent(), self.held_out.spent() if self.held_out.count else None

    def aimed(self, normal: Normal, predict: Callable[[Floats], Floats], bounds: tuple[float, float]) -> Normal:
        """`normal` (of all of these rows) with the targets that are free beyond `bounds` moved to what is predicted."""
        return normal.with_targets((x, self._aim(x, target, beside, predict, bounds)) for x, target, beside in self.kept)

    @staticmethod
    def _aim(x: Floats, target: Floats, beside: Floats | None, predict: Callable[[Floats], Floats], bounds: tuple[float, float]) -> Floats:
        base = predict(x) if beside is None else predict(x) + beside
        aim = within_bounds(target, base, bounds)
        return aim if beside is None else aim - beside

    def of(self, is_held_out: bool) -> Moments:
        return self.held_out if is_held_out else self.fit


@dataclass(frozen=True, slots=True)
class Walk:
    """The two networks side by side, each at its frontier."""

    original: Frontier
    compressed: Frontier
    samples: Samples
    kept: Mapping[str, npt.NDArray[np.intp]]

    def rows(self, layer: Layer, source: str, target: Target, *, keep: bool) -> Rows:
        """The rows of `layer`; `source` is the tensor that it reads, of the same name in both networks."""
        rows = Rows()
        per_sample = rows_per_sample(layer, self.samples.count)
        width = layer.geometry.fan_in * layer.geometry.groups + 2 * layer.geometry.channels_out
        can_keep = keep and per_sample * self.samples.count * width * 4 <= MAX_KEPT_BYTES
        beside = [] if target.beside is None else [target.beside]
        compressed = self.compressed.stream([source, *beside], hold=[source])
        original = self.original.stream([target.tensor], hold=[source])
        for batch, values, aims in zip(self.samples.batches, compressed, original, strict=True):
            positions = Positions.draw(layer, batch, per_sample)
            x = positions.inputs(layer, values[source], batch.count)
            aim = aims[target.tensor]
            t = positions.outputs(layer, aim[:, self.kept[target.tensor]] if target.tensor in self.kept else aim, batch.count)
            s = None if target.beside is None else positions.outputs(layer, values[target.beside], batch.count)
            for part, is_held_out in _split(batch.start, batch.count, len(x) // batch.count):
                if not len(part):
                    continue
                rows.of(is_held_out).add(x[part], t[part] if s is None else t[part] - s[part])
                if can_keep:
                    rows.kept.append((x[part], t[part], None if s is None else s[part]))
        if rows.fit.count == 0:
            rows.fit, rows.held_out = rows.held_out, Moments()
        return rows

    def forget(self, future: Collection[str]) -> None:
        self.original.forget(future)
        self.compressed.forget(future)


def rows_per_sample(layer: Layer, samples: int) -> int:
    """Positions to draw per sample: several rows for each weight of an output, within bounds."""
    wanted = min(max(24 * layer.geometry.fan_in, MIN_ROWS), MAX_ROWS)
    return max(1, min(layer.positions, math.ceil(wanted / max(samples, 1))))


def _split(start: int, count: int, per_sample: int) -> Iterator[tuple[Any, bool]]:
    """Row numbers of a batch: three samples of four to fit on, one held out."""
    held = (np.arange(start, start + count) % _HOLD_OUT_EVERY) == _HOLD_OUT_EVERY - 1
    mask = np.repeat(held, per_sample)
    yield np.flatnonzero(~mask), False
    yield np.flatnonzero(mask), True


def predictor(weight: Doubles, bias: Doubles) -> Callable[[Floats], Floats]:
    """Rows of inputs to rows of outputs by `weight` (groups × out × fan-in)."""
    narrow, offset = weight.astype(np.float32), bias.astype(np.float32)

    def predict(x: Floats) -> Floats:
        made = np.matmul(x.transpose(1, 0, 2), narrow.transpose(0, 2, 1))
        return np.asarray(made.transpose(1, 0, 2).reshape(len(x), -1) + offset)

    return predict


def own_rows(frontier: Frontier, layer: Layer, samples: Samples) -> Moments:
    """The moments of a layer's inputs alone, in the network of `frontier`; targets are empty."""
    moments = Moments()
    per_sample = rows_per_sample(layer, samples.count)
    nothing = np.zeros((0,), np.float32)
    for batch, values in zip(samples.batches, frontier.stream([layer.source], hold=[layer.source]), strict=True):
        x = Positions.draw(layer, batch, per_sample).inputs(layer, values[layer.source], batch.count)
        moments.add(x, np.broadcast_to(nothing, (len(x), 0)))
    return moments
