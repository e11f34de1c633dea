"""What a search for the best engine came to: every whole network that was built, the front, what each layer got and why. Values, as JSON has them."""

from __future__ import annotations

from collections.abc import Sequence

from .measurement import Value


class Point(Value, frozen=True, kw_only=True):
    """A whole network that was built and measured. Predictions are None for networks that were not planned: `predicted_ms` by timing the network
    before its weights were fitted, `summed_ms` from single layers alone.

    `spread_ms` is half the width of the measured median's 95 % interval; `loss` is the share of what the budget allows that was used up.
    """

    name: str
    latency_ms: float
    spread_ms: float
    size_bytes: int
    predicted_ms: float | None = None
    summed_ms: float | None = None
    damage: float | None = None
    predicted_damage: float | None = None
    top1_drop: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    energy_mj: float | None = None
    loss: float | None = None
    is_allowed: bool = True
    is_on_front: bool = False

    @property
    def prediction_error(self) -> float | None:
        """Relative; None where nothing was predicted."""
        return None if self.predicted_ms is None else self.predicted_ms / self.latency_ms - 1


class LayerChoice(Value, frozen=True, kw_only=True):
    """What one layer became and why: alone, its time before and after and the damage that was taken for it."""

    layer: str
    became: str
    ms_before: float
    ms_after: float
    damage: float


class SearchReport(Value, frozen=True, kw_only=True):
    """One search. `plans` is how many plans there were; `measured` micro-measurements were made, `known` came from earlier runs.

    `is_from_before`: all of it is an earlier run's, and of its engines the best one is here.
    """

    plans: float
    measured: int
    known: int
    seconds: float
    points: tuple[Point, ...] = ()
    layers: tuple[LayerChoice, ...] = ()
    predicted_within: float | None = None
    is_complete: bool = True
    is_from_before: bool = False
    plot: str | None = None


def share_within(points: Sequence[Point], tolerance: float = 0.05) -> float | None:
    """The share of planned networks predicted within `tolerance`, or within the spread of the measurement where that is wider."""
    errors = [(abs(error), max(tolerance, point.spread_ms / point.latency_ms)) for point in points if (error := point.prediction_error) is not None]
    return sum(error <= allowed for error, allowed in errors) / len(errors) if errors else None
