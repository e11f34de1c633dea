"""``--student auto``: students for this device's budget compete, trained a little at first and then longer; the caller trains the best in full.

Rules:
- the first round is long enough for its ranks to mean something: `FIRST_STEPS` steps, however few the samples; each round is twice as long;
- who goes on is decided by how far a student's outputs are from the teacher's, not by agreement: a hundred held-out samples cannot tell two students
  apart by counting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ..core.errors import Rejected, Unfit
from .costs import Costs
from .filters import first_filters
from .generator import Entrant, Limits, entrants
from .halving import halve
from .request import DistillOptions
from .school import School
from .spec import StudentSpec

if TYPE_CHECKING:
    from .training.trainer import TrainSettings

MOST, ROUNDS, FIRST_STEPS = 16, 3, 150
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
    running = entrants(school.interface, limits, costs, most=MOST)
    rounds = rounds_of(settings.epochs, len(school.samples.trained_on), settings.batch)
    total = sum(epochs * max(1, len(running) >> number) for number, epochs in enumerate(rounds))
    done = 0
    shown: dict[StudentSpec, float] = {}

    def score(entrant: Entrant, epochs: int) -> float:
        nonlocal done
        if stop():
            raise Unfit("cancelled", "the search for a student was stopped", "Start it again, or name a student: --student SPEC")
        progress(min(1.0, done / total), f"trying {entrant.spec}")
        done += epochs
        minutes = None if settings.minutes is None else settings.minutes * epochs / total
        shown[entrant.spec], nearness = _tried(entrant, school, replace(settings, epochs=epochs, minutes=minutes), stop)
        return nearness

    judged = halve(running, rounds, score, lambda entrant: entrant.ms)
    return tuple(
        Placed(spec=str(place.entrant.spec), score=shown[place.entrant.spec], ms=place.cost, macs=place.entrant.wiring.macs, round=place.round + 1)
        for place in judged
    )


def rounds_of(epochs: int, samples: int, batch: int) -> tuple[int, ...]:
    """How many epochs each round trains, none longer than the full training of `epochs`."""
    steps = max(1, samples // batch)
    first = max(2, math.ceil(FIRST_STEPS / steps))
    return tuple(min(first << number, max(1, epochs)) for number in range(ROUNDS))


def _tried(entrant: Entrant, school: School, settings: TrainSettings, stop: Callable[[], bool]) -> tuple[float, float]:
    """The held-out score of a short training, and the nearness that ranks it; −inf of one that diverges."""
    from .training.scoring import nearness_of, score_of
    from .training.trainer import Trainer

    with school.lessons(entrant.wiring) as lessons:
        lessons.keep(cancel=stop)
        trainer = Trainer(entrant.wiring, first_filters(entrant.wiring, settings.seed), lessons, settings, stop=stop)
        try:
            trainer.run()
        except Rejected as error:
            if error.code != "training-diverged":
                raise
            return float("-inf"), float("-inf")
        score = score_of(trainer.learner, lessons, lessons.held_out, settings.measure)
        return score, nearness_of(trainer.learner, lessons, lessons.held_out, settings.measure)
