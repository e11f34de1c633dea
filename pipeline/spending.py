"""What one search may spend, has spent, and says of itself meanwhile: seconds, micro-measurements, progress that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..compression.search.bench import MAX_MEASUREMENTS

# Whole networks with arbitrary weights are timed too: single layers leave them room.
MAX_LAYERS_TIMED = MAX_MEASUREMENTS - 60
MAX_ROUNDS = 6
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search may do: `seconds` in all, samples for repair, for covariances and for probes, whole networks built."""

    seconds: float
    samples: int = 192
    weighed: int = 96
    probes: int = 24
    rounds: int = MAX_ROUNDS


QUICK = Effort(seconds=25.0, samples=32, weighed=16, probes=8, rounds=1)


@dataclass(slots=True)
class Spending:
    """One search's account. `measured` counts micro-measurements: layers, and whole networks with arbitrary weights."""

    effort: Effort
    progress: Progress
    measured: int = 0
    reached: float = 0.0
    began_s: float = field(default_factory=time.monotonic)

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def left_s(self) -> float:
        return max(0.0, self.effort.seconds - self.spent_s)

    @property
    def layers_left(self) -> int:
        """How many layers may still be timed."""
        return max(0, MAX_LAYERS_TIMED - self.measured)

    @property
    def measurements_left(self) -> int:
        return max(0, MAX_MEASUREMENTS - self.measured)

    def part(self, start: float, stop: float) -> Progress:
        """Progress of a part, as a share of the whole search, with the time that is left at most."""

        def report(share: float, note: str) -> None:
            self.reached = max(self.reached, start + (stop - start) * share)
            left = f"at most {self.left_s:.0f} s more" if self.left_s > 0 else "longer than planned: the search ends with this network"
            self.progress(self.reached, f"{note}; {left}")

        return report
