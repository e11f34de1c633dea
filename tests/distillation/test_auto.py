from __future__ import annotations

from edgewright.distillation.auto import rounds_of


def test_the_first_round_is_a_hundred_and_fifty_steps_however_few_the_samples():
    # 27 steps an epoch: six epochs are 162 steps.
    assert rounds_of(60, 875, 32) == (6, 12, 24)


def test_many_samples_are_seen_at_least_twice():
    assert rounds_of(60, 50_000, 32) == (2, 4, 8)


def test_no_round_is_longer_than_the_training_that_follows():
    assert rounds_of(3, 875, 32) == (3, 3, 3)
