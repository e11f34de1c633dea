"""Successive halving (Jamieson and Talwalkar 2016): all entrants train a little, the better part goes on and trains longer. Pure: it only decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judged(Generic[T]):
    """An entrant with the score of its last round (more is better), the round in which it left, and its cost."""

    entrant: T
    score: float
    cost: float
    round: int


def halve(
    field: Sequence[T], rounds: Sequence[int], score: Callable[[T, int], float], cost: Callable[[T], float], *, keep: float = 0.5
) -> tuple[Judged[T], ...]:
    """Everybody, the winner first. `rounds` says how long each round trains; `score` trains one entrant so long and judges it.

    After each round the share `keep` goes on, at least one; of equal scores the cheaper is better.
    """
    running = list(field)
    done: list[Judged[T]] = []
    for number, length in enumerate(rounds):
        judged = sorted(
            (Judged(entrant, score(entrant, length), cost(entrant), number) for entrant in running), key=lambda entry: (-entry.score, entry.cost)
        )
        is_last = number == len(rounds) - 1 or len(judged) == 1
        staying = len(judged) if is_last else max(1, round(len(judged) * keep))
        done = [*judged, *done] if is_last else [*judged[staying:], *done]
        running = [entry.entrant for entry in judged[:staying]]
        if is_last:
            break
    return tuple(done)
