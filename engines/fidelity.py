"""How faithful an engine is to the FP32 model: top-1, agreement and signal-to-noise ratio, streamed over batches (DESIGN §5).

    sqnr_db = 10·log10( Σ y² / Σ (y − ŷ)² )     y from the FP32 model, ŷ from the engine, over all samples of one output

A final Softmax is looked through: it hides differences of the logits behind saturation. Where the engine gives probabilities p all the same,
they determine the logits up to a constant per sample, so the logits are taken as log p − mean(log p), with p not below what the coarser of
the two number formats resolves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..core.errors import Rejected
from ..core.measurement import Fidelity, OutputFidelity
from .base import Array
from .softmax import SoftmaxAxes

_TINY = 1e-30


@dataclass(slots=True)
class _OutputSums:
    signal: float = 0.0
    noise: float = 0.0
    max_abs_error: float = 0.0
    is_finite: bool = True

    def add(self, reference: Array, value: Array) -> None:
        if not (np.isfinite(value).all() and np.isfinite(reference).all()):
            self.is_finite = False
            return
        error = reference - value
        self.signal += float(np.vdot(reference, reference))
        self.noise += float(np.vdot(error, error))
        self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float | None:
        """None without a signal or with NaN; capped at 200 dB for outputs that are equal."""
        if not self.is_finite or self.signal <= 0:
            return None
        return min(200.0, 10 * math.log10(self.signal / max(self.noise, _TINY)))


@dataclass(slots=True)
class FidelityMeter:
    """Adds up batches of reference and engine outputs.

    `classified` is the output that top-1 is read from, None for tasks other than classification. `softmax` names the outputs that
    leave through a final Softmax, with its axes.
    """

    classified: str | None
    softmax: Mapping[str, SoftmaxAxes] = field(default_factory=dict)
    _sums: dict[str, _OutputSums] = field(default_factory=dict)
    _samples: int = 0
    _labelled: int = 0
    _agreed: int = 0
    _right: int = 0
    _right_fp32: int = 0

    def add(self, reference: Mapping[str, Array], outputs: Mapping[str, Array], samples: int, labels: npt.NDArray[np.int64] | None) -> None:
        """One batch of `samples`: float outputs by name, first axis = samples where the model has a batch axis.

        Raises:
            Rejected: ``dataset-wrong-labels`` for a label that the model has no class for; ``card-mismatch`` for an output without classes.
        """
        self._samples += samples
        for name, y in reference.items():
            if y.dtype.kind != "f" and self.classified != name:
                continue
            sums = self._sums.setdefault(name, _OutputSums())
            expected, value = self._linear(name, y, outputs[name])
            if expected.shape == value.shape:
                sums.add(expected, value)
            else:
                sums.is_finite = False
        if self.classified is not None:
            self._add_classes(reference[self.classified], outputs[self.classified], samples, labels)

    def _linear(self, name: str, reference: Array, value: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Both as float64; probabilities as centred logits."""
        wide = reference.astype(np.float64), value.astype(np.float64)
        axes = self.softmax.get(name)
        if axes is None:
            return wide
        floor = max(float(np.finfo(values.dtype).tiny) for values in (reference, value))
        logs = [np.log(np.maximum(values, floor)) for values in wide]
        expected, found = (values - values.mean(axis=axes.of(values.ndim), keepdims=True) for values in logs)
        return expected, found

    def _add_classes(self, reference: Array, value: Array, samples: int, labels: npt.NDArray[np.int64] | None) -> None:
        if reference.size % samples or reference.shape != value.shape:
            message = f"the output {self.classified!r} has {reference.size} numbers for {samples} samples, which are no classes"
            raise Rejected("card-mismatch", message, "Correct task.output in the model card, or set task.kind to other")
        scores = reference.reshape(samples, -1)
        expected = scores.argmax(1)
        finite = np.isfinite(value.reshape(samples, -1)).all(1)
        found = np.where(finite, value.reshape(samples, -1).argmax(1), -1)
        self._agreed += int((expected == found).sum())
        if labels is not None:
            if labels.size and labels.max() >= scores.shape[1]:
                message = f"the dataset has the label {labels.max()}, the model has the classes 0 to {scores.shape[1] - 1}"
                raise Rejected("dataset-wrong-labels", message, "Label with the model's own classes, counted from 0")
            self._labelled += samples
            self._right_fp32 += int((expected == labels).sum())
            self._right += int((found == labels).sum())

    def fidelity(self, measured_on: Literal["evaluation", "calibration"]) -> Fidelity:
        """The result so far; `sqnr_db` is the classified output's, or the worst output's of another task."""
        outputs = {name: OutputFidelity(sqnr_db=sums.sqnr_db, max_abs_error=sums.max_abs_error) for name, sums in self._sums.items()}
        known = [entry.sqnr_db for entry in outputs.values()]
        if self.classified is not None:
            sqnr_db = outputs[self.classified].sqnr_db if self.classified in outputs else None
        else:
            sqnr_db = min((value for value in known if value is not None), default=None) if None not in known else None
        is_labelled = self._labelled > 0
        is_class = self.classified is not None and self._samples > 0
        return Fidelity(
            top1_fp32=self._right_fp32 / self._labelled if is_labelled else None,
            top1=self._right / self._labelled if is_labelled else None,
            agreement=self._agreed / self._samples if is_class else None,
            sqnr_db=sqnr_db,
            samples=self._samples,
            measured_on=measured_on,
            outputs=outputs,
        )
