"""How much of the owner's allowance a network uses up."""

from __future__ import annotations

import pytest
from edgewright.core.budget import Budget
from edgewright.core.measurement import Fidelity
from edgewright.pipeline.allowance import Allowance, allowance_of, next_limit


def fidelity(top1=None, agreement=None, sqnr_db=None):
    return Fidelity(top1_fp32=None if top1 is None else 0.8, top1=top1, agreement=agreement, sqnr_db=sqnr_db, samples=100)


def test_the_owner_s_limits_are_the_search_s():
    found = allowance_of(Budget(max_top1_drop=0.02, min_agreement=0.9, min_sqnr_db=15.0), is_labelled=True, is_classifier=True)

    assert found == Allowance(0.02, 0.9, 15.0)


def test_top1_alone_also_asks_for_agreement():
    assert allowance_of(Budget(max_top1_drop=0.02), is_labelled=True, is_classifier=True) == Allowance(0.02, pytest.approx(0.9), None)


@pytest.mark.parametrize(
    ("is_labelled", "is_classifier", "expected"),
    [(True, True, Allowance(0.015, 0.925, None)), (False, True, Allowance(None, 0.95, None)), (False, False, Allowance(None, None, 20.0))],
    ids=["labels", "classes without labels", "no classes"],
)
def test_no_limit_does_not_mean_that_any_network_will_do(is_labelled, is_classifier, expected):
    assert allowance_of(Budget(max_size_bytes=10), is_labelled=is_labelled, is_classifier=is_classifier) == expected


def test_the_worst_measure_counts():
    allowance = Allowance(0.02, 0.9, 20.0)

    assert allowance.use(fidelity(0.79, 0.98, 30.0)) == pytest.approx(0.5)
    assert allowance.use(fidelity(0.8, 0.92, 30.0)) == pytest.approx(0.8)
    assert allowance.use(fidelity(0.8, 1.0, 17.0)) == pytest.approx(10**0.3)


def test_what_was_limited_and_not_measured_is_too_much():
    assert Allowance(0.02, None, None).use(fidelity(None, 1.0)) == float("inf")


def test_a_gain_in_top1_uses_nothing():
    assert Allowance(0.02, None, None).use(fidelity(0.9)) == 0.0


def test_less_use_allows_more_damage_and_more_use_less():
    assert next_limit(0.1, 0.5, 0.2, None, None) > 0.1
    assert next_limit(0.1, 1.5, 0.2, None, None) < 0.1
    assert 0.1 < next_limit(0.1, 0.2, 0.2, None, None) <= 0.5


def test_between_good_and_bad_it_stays_between():
    for use in (0.1, 0.95, 1.05, 9.0):
        assert 0.1 < next_limit(0.1 if use < 1 else 0.4, use, 0.0, 0.1, 0.4) < 0.4
