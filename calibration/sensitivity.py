"""Keeps the few most sensitive layers in float when the budget needs it; sensitivity is measured, layer by layer, on the quantised network.

A layer's sensitivity is what the whole network's signal-to-noise ratio gains, on kept samples and on this runtime, when that layer alone goes
back to float. Layers go back in that order until the wanted ratio is reached or `MAX_SHARE` of them did; each step is measured, since gains do
not add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import Unfit
from .plan import Layer, Plan
from .verify import Verifier

MAX_SHARE = 0.25
MIN_GAIN_DB = 0.05


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What the network gains when `layer` alone goes back to float."""

    layer: Layer
    gain_db: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """A network with some layers in float: its plan, its file, what it reaches, and what each of its float layers alone had gained."""

    plan: Plan
    data: bytes
    sqnr_db: float
    kept: tuple[Sensitivity, ...]


@dataclass(frozen=True, slots=True)
class Mixer:
    """Chooses float layers. `replanned` gives the plan without these layers, None where the known ranges do not serve it; `written` its file."""

    verifier: Verifier
    replanned: Callable[[frozenset[str]], Plan | None]
    written: Callable[[Plan], bytes]
    cancel: Callable[[], bool] = lambda: False

    def sensitivities(self, plan: Plan, sqnr_db: float) -> list[Sensitivity]:
        """Of all layers of `plan`, whose file reaches `sqnr_db`, the greatest first."""
        found = []
        for layer in plan.layers:
            if self.cancel():
                raise Unfit("cancelled", "the calibration was cancelled", "Start it again")
            tried = self.replanned(frozenset({layer.node}))
            if tried is not None and tried.layers:
                found.append(Sensitivity(layer, self.verifier.sqnr_db(self.written(tried)) - sqnr_db))
        return sorted(found, key=lambda entry: -entry.gain_db)

    def reach(self, wanted_db: float, start: Mixed) -> Mixed:
        """`start` with as many more layers in float as `wanted_db` needs; the best that was found where it cannot be reached."""
        best, kept = start, list(start.kept)
        most = max(1, int(MAX_SHARE * len(start.plan.layers)))
        for entry in self.sensitivities(start.plan, start.sqnr_db)[:most]:
            if best.sqnr_db >= wanted_db or entry.gain_db < MIN_GAIN_DB:
                break
            tried = self.replanned(frozenset(member.layer.node for member in (*kept, entry)))
            if tried is None or not tried.layers:
                continue
            data = self.written(tried)
            reached = self.verifier.sqnr_db(data)
            if reached > best.sqnr_db:
                kept.append(entry)
                best = Mixed(tried, data, reached, tuple(kept))
        return best
