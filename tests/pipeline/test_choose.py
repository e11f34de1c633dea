from __future__ import annotations

import pytest
from edgewright.core.budget import Budget
from edgewright.core.measurement import Candidate, Energy, Fidelity, Latency
from edgewright.pipeline.choose import choose, goal_of


def candidate(name, p50, *, p99=None, top1=0.9, agreement=1.0, size=100, energy=None):
    latency = None if p50 is None else Latency(mean=p50, p50=p50, p90=p50, p99=p99 or p50, samples=1000)
    fidelity = Fidelity(top1_fp32=0.9, top1=top1, agreement=agreement, sqnr_db=30.0, samples=100)
    return Candidate(
        name=name,
        backend="b",
        path=name,
        size_bytes=size,
        latency_ms=latency,
        energy_mj=None if energy is None else Energy(mean=energy, ci95=(energy, energy), source="fake"),
        fidelity=fidelity,
    )


def test_the_fastest_is_chosen():
    choice = choose([candidate("fp32", 10), candidate("int8", 4), candidate("other", 5)], Budget())

    assert choice.candidate.name == "int8"
    assert choice.verdict.accepted
    assert choice.notes == ("int8 is 2.50 times as fast as fp32", "other is not faster than int8 here (0.80 times) and was not chosen")


@pytest.mark.parametrize(("p50", "chosen"), [(9.9, "fp32"), (9.81, "fp32"), (9.79, "int8")])
def test_a_difference_inside_the_noise_keeps_the_more_faithful(p50, chosen):
    assert choose([candidate("fp32", 10), candidate("int8", p50)], Budget()).candidate.name == chosen


def test_only_what_meets_the_budget_may_be_chosen():
    choice = choose([candidate("fp32", 10), candidate("int8", 4, top1=0.85)], Budget(max_top1_drop=0.015))

    assert choice.candidate.name == "fp32"
    assert choice.verdict.accepted
    assert any("int8 does not meet the budget" in note for note in choice.notes)


def test_when_none_meets_the_budget_the_nearest_is_named_with_its_reasons():
    budget = Budget(max_latency_p99_ms=3, max_size_bytes=50)
    choice = choose([candidate("fp32", 10), candidate("int8", 4, size=40)], budget)

    assert choice.candidate.name == "int8"
    assert not choice.verdict.accepted
    assert [reason.code for reason in choice.verdict.reasons] == ["budget"]


def test_equal_numbers_of_missed_limits_go_by_how_much_they_are_missed():
    choice = choose([candidate("fp32", 10), candidate("int8", 4)], Budget(max_latency_p99_ms=3))

    assert choice.candidate.name == "int8"


def test_an_unmeasured_latency_is_never_faster():
    assert choose([candidate("fp32", 10), candidate("int8", None)], Budget()).candidate.name == "fp32"


def test_the_goal_decides_what_is_compared():
    found = [candidate("fp32", 10, size=100, energy=5.0), candidate("int8", 4, size=50, energy=6.0)]

    assert [choose(found, Budget(), goal).candidate.name for goal in ("latency", "energy", "size")] == ["int8", "fp32", "int8"]
    assert choose(found, Budget(), "energy").notes == ("int8 is not more frugal than fp32 here (0.83 times) and was not chosen",)


def test_energy_that_was_not_measured_of_all_is_not_compared():
    assert choose([candidate("fp32", 10, energy=5.0), candidate("int8", 4)], Budget(), "energy").candidate.name == "int8"


@pytest.mark.parametrize(
    ("budget", "wish", "goal"),
    [
        (Budget(), None, "latency"),
        (Budget(max_energy_mj=1), None, "energy"),
        (Budget(max_energy_mj=1, max_latency_p99_ms=1), None, "latency"),
        (Budget(max_energy_mj=1), "size", "size"),
    ],
)
def test_the_budget_tells_the_goal_unless_somebody_wishes_another(budget, wish, goal):
    assert goal_of(budget, wish) == goal
