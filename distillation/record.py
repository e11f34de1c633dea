"""What is known of a training, epoch by epoch."""

from __future__ import annotations

from typing import Literal

import msgspec

Measure = Literal["agreement", "sqnr_db"]
Ending = Literal["finished", "out-of-time", "stopped"]


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch: the mean loss over its steps, each term's part (weighted, in the objective's order), and the score on held-out samples.

    The score is the agreement with the teacher of a classifier, else the output's signal-to-noise ratio in dB.
    """

    number: int
    loss: float
    parts: tuple[float, ...]
    score: float
    rate: float
    seconds: float
    is_quantized: bool = False


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A training so far. `seconds` counts all of its runs."""

    losses: tuple[str, ...]
    measure: Measure
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        return self.epochs[-1].score if self.epochs else None
