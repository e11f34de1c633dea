from __future__ import annotations

from edgewright.distillation.halving import Judged, halve


def test_the_better_half_goes_on_and_trains_longer():
    asked = []

    def score(entrant, length):
        asked.append((entrant, length))
        return float(entrant)

    judged = halve([1, 2, 3, 4], (10, 20, 40), score, lambda entrant: 1.0)

    assert asked == [(1, 10), (2, 10), (3, 10), (4, 10), (4, 20), (3, 20), (4, 40)]
    assert [entry.entrant for entry in judged] == [4, 3, 2, 1]
    assert [entry.round for entry in judged] == [2, 1, 0, 0]


def test_of_equal_scores_the_cheaper_wins():
    judged = halve(["dear", "cheap"], (1,), lambda _entrant, _length: 0.5, {"dear": 2.0, "cheap": 1.0}.__getitem__)

    assert judged[0] == Judged("cheap", 0.5, 1.0, 0)


def test_one_that_diverges_is_last_and_never_goes_on():
    judged = halve([1, 2, 3], (1, 1), lambda entrant, _length: float("-inf") if entrant == 3 else entrant, lambda _entrant: 1.0)

    assert judged[-1].entrant == 3
    assert judged[0].entrant == 2


def test_a_single_entrant_wins_after_one_round():
    asked = []

    assert halve([7], (1, 2, 3), lambda entrant, length: asked.append(length) or 1.0, lambda _entrant: 0.0)[0].entrant == 7
    assert asked == [1]
