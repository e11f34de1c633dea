"""``--student auto``: students for this device's budget compete, trained a little at first and then longer; the caller trains the best in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ..core.errors import Rejected, Unfit
from .costs import Costs
from .filters import first_filters
from .generator import Entrant, Limits, entrants
from .halving import halve
from .onnx_form import onnx_of
from .request import DistillOptions
from .school import School

if TYPE_CHECKING:
    from .training.trainer import TrainSettings

MOST, ROUNDS = 12, (2, 4, 8)
Progress = Callable[[float, str], None]


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One student of the search: its held-out score in its last round, and its time at batch 1 on this device, measured as a whole."""

    spec: str
    score: float
    ms: float
    macs: int
    round: int


def search_student(
    school: School, options: DistillOptions, settings: TrainSettings, costs: Costs, *, progress: Progress, stop: Callable[[], bool]
) -> tuple[Placed, ...]:
    """Everybody who took part, the winner first.

    Raises:
        Rejected: ``no-student-fits``.
        Unfit: ``cancelled`` when stopped: a search has nothing to resume.
    """
    limits = Limits(options.max_latency_ms, options.max_size_bytes, int(options.max_macs_ratio * school.network.macs))
    found = [_measured(entrant, school, costs) for entrant in entrants(school.interface, limits, costs, most=MOST)]
    running = [entrant for entrant in found if limits.max_ms is None or entrant.ms <= limits.max_ms]
    if not running:
        raise Rejected("no-student-fits", "no student is fast enough as a whole", "Raise --max-latency-ms, or name a student: --student SPEC")
    total = sum(ROUNDS[number] * max(1, len(running) >> number) for number in range(len(ROUNDS)))
    done = 0

    def score(entrant: Entrant, epochs: int) -> float:
        nonlocal done
        if stop():
            raise Unfit("cancelled", "the search for a student was stopped", "Start it again, or name a student: --student SPEC")
        progress(min(1.0, done / total), f"trying {entrant.spec}")
        done += epochs
        minutes = None if settings.minutes is None else settings.minutes * epochs / total
        return _tried(entrant, school, replace(settings, epochs=epochs, minutes=minutes), stop)

    judged = halve(running, ROUNDS, score, lambda entrant: entrant.ms)
    return tuple(
        Placed(spec=str(entry.entrant.spec), score=entry.score, ms=entry.cost, macs=entry.entrant.wiring.macs, round=entry.round + 1)
        for entry in judged
    )


def _measured(entrant: Entrant, school: School, costs: Costs) -> Entrant:
    model = onnx_of(entrant.wiring, first_filters(entrant.wiring, 0), replace(school.interface, batch=1))
    return replace(entrant, ms=costs.whole_ms(model))


def _tried(entrant: Entrant, school: School, settings: TrainSettings, stop: Callable[[], bool]) -> float:
    """The held-out score of a short training; −inf of one that diverges."""
    from .training.scoring import score_of
    from .training.trainer import Trainer

    with school.lessons(entrant.wiring) as lessons:
        lessons.keep(cancel=stop)
        trainer = Trainer(entrant.wiring, first_filters(entrant.wiring, settings.seed), lessons, settings, stop=stop)
        try:
            trainer.run()
        except Rejected as error:
            if error.code != "training-diverged":
                raise
            return float("-inf")
        return score_of(trainer.learner, lessons, lessons.held_out, settings.measure)
