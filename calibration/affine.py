"""Gain and bias per output channel that bring a quantised layer's output nearest to the FP32 network's, at no cost when it runs.

    y ≈ gain · ŷ + bias        least squares over samples and places; the gain goes into the weights' scale, the bias into the bias

Both are shrunk towards "no correction" by as much as their own standard error, taken from the scatter between samples, explains: a layer
with few places, as a classifier's last one, would otherwise learn the calibration samples by heart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
MAX_GAIN = 1.1
PLACES_PER_SAMPLE = 4
_TINY = 1e-20


@dataclass(frozen=True, slots=True)
class Affine:
    """A correction per output channel."""

    gain: Doubles
    bias: Doubles


@dataclass(slots=True)
class AffineStatistics:
    """Adds up outputs of a layer, samples × channels × places: the FP32 network's with its bias, the quantised one's without."""

    _teacher: list[Doubles] = field(default_factory=list)
    _student: list[Doubles] = field(default_factory=list)
    _places: int = 0
    _squares: tuple[Doubles, Doubles, Doubles] | None = None

    def add(self, teacher: Floats, student: Floats) -> None:
        t, s = (values.reshape(*values.shape[:2], -1) for values in (teacher, student))
        self._places = t.shape[2]
        self._teacher.append(t.mean(axis=2, dtype=np.float64))
        self._student.append(s.mean(axis=2, dtype=np.float64))
        sums = tuple(np.einsum("ncp,ncp->c", a, b).astype(np.float64) / t.shape[2] for a, b in ((t, t), (t, s), (s, s)))
        known = self._squares
        self._squares = (sums[0], sums[1], sums[2]) if known is None else (known[0] + sums[0], known[1] + sums[1], known[2] + sums[2])

    def correction(self, bias: Doubles, *, with_gain: bool = True) -> Affine:
        """The correction of a layer whose own bias is `bias`."""
        assert self._squares is not None
        teacher, student = np.concatenate(self._teacher), np.concatenate(self._student)
        samples = len(teacher)
        mean_t, mean_s = teacher.mean(axis=0), student.mean(axis=0)
        tt, ts, ss = (sums / samples for sums in self._squares)
        gain = np.ones(len(bias))
        if with_gain:
            variance, covariance = np.maximum(ss - mean_s**2, 0), ts - mean_t * mean_s
            fitted = np.where(variance > _TINY, covariance / np.maximum(variance, _TINY), 1.0)
            left = np.maximum(tt - mean_t**2 - 2 * fitted * covariance + fitted**2 * variance, 0)
            independent = samples * min(self._places, PLACES_PER_SAMPLE)
            gain = np.clip(1 + _shrunk(fitted - 1, left / np.maximum(variance, _TINY) / independent), 1 / MAX_GAIN, MAX_GAIN)
        errors = teacher - gain * student - bias
        return Affine(gain, bias + _shrunk(errors.mean(axis=0), errors.var(axis=0) / samples))


def _shrunk(estimate: Doubles, squared_error: Doubles) -> Doubles:
    """Positive-part shrinkage: what remains of `estimate` beyond its own uncertainty."""
    return np.asarray(estimate * np.maximum(0.0, 1 - squared_error / (estimate**2 + _TINY)))
