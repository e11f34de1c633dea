"""The expected intervals come from SciPy-free arithmetic written differently: the roots of the quadratic that defines Wilson's interval."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from edgewright.controller.evidence import Figures, Measured, devices_needed, judge_wave, share_interval
from edgewright.controller.rollout_plan import RolloutPlan
from edgewright.core.budget import Budget

PLAN = RolloutPlan(min_good_share=0.8, confidence=0.9)


def wilson(good: int, count: int, confidence: float) -> tuple[float, float]:
    """The shares p with (good/count - p)² = z²·p(1-p)/count."""
    z2 = NormalDist().inv_cdf(confidence) ** 2
    share = good / count
    low, high = sorted(np.roots([1 + z2 / count, -(2 * share + z2 / count), share * share]).real)
    return float(low), float(high)


def boards(count: int, new_ms: float, old_ms: float | None = None, hardware_class: str = "orin") -> list[Measured]:
    old = None if old_ms is None else Figures(latency_p99_ms=old_ms)
    return [Measured(hardware_class=hardware_class, new=Figures(latency_p99_ms=new_ms), old=old) for _ in range(count)]


@pytest.mark.parametrize(("good", "count"), [(0, 5), (1, 1), (3, 7), (7, 7), (93, 100), (500, 1000)])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.99])
def test_the_interval_of_a_large_class_is_wilsons(good, count, confidence):
    assert share_interval(good, count, 10**9, confidence) == pytest.approx(wilson(good, count, confidence), abs=1e-7)


def test_a_class_that_was_measured_whole_is_known_for_certain():
    assert share_interval(3, 4, 4, 0.9) == (0.75, 0.75)


def test_the_interval_never_leaves_what_is_known_for_certain():
    low, high = share_interval(9, 10, 12, 0.9)

    assert low >= 9 / 12
    assert high <= 11 / 12


def test_nothing_measured_is_nothing_known():
    assert share_interval(0, 0, 10, 0.9) == (0.0, 1.0)


def test_as_many_good_devices_as_it_says_prove_the_share_and_one_fewer_does_not():
    need = devices_needed(PLAN)

    assert wilson(need, need, 0.9)[0] >= 0.8 > wilson(need - 1, need - 1, 0.9)[0]
    assert judge_wave(PLAN, Budget(max_latency_p99_ms=10), boards(need, 9.0), {"orin": 1000}).verdict == "proven"
    assert judge_wave(PLAN, Budget(max_latency_p99_ms=10), boards(need - 1, 9.0), {"orin": 1000}).verdict == "unproven"


def test_the_interval_covers_the_true_share_as_often_as_it_says():
    random = np.random.default_rng(7)
    hits = [share_interval(int(good), 40, 10**6, 0.9)[0] <= 0.8 for good in random.binomial(40, 0.8, 4000)]

    assert np.mean(hits) > 0.88


def test_devices_beyond_the_budget_are_worse():
    judgement = judge_wave(PLAN, Budget(max_latency_p99_ms=10), boards(10, 10.1), {"orin": 1000})

    assert judgement.verdict == "worse"
    assert "latency_p99_ms on orin" in judgement.note


def test_a_device_is_held_against_its_own_former_engine():
    within = judge_wave(PLAN, Budget(), boards(20, 10.9, 10.0), {"orin": 1000})
    beyond = judge_wave(PLAN, Budget(), boards(20, 11.1, 10.0), {"orin": 1000})

    assert (within.verdict, beyond.verdict) == ("proven", "worse")


def test_the_tighter_of_budget_and_former_engine_counts():
    assert judge_wave(PLAN, Budget(max_latency_p99_ms=50), boards(20, 20.0, 10.0), {"orin": 1000}).verdict == "worse"
    assert judge_wave(PLAN, Budget(max_latency_p99_ms=5), boards(20, 6.0, 10.0), {"orin": 1000}).verdict == "worse"


def test_boards_that_differ_are_each_compared_with_themselves():
    """Twice as fast and twice as slow boards: every one of them is a little faster than it was."""
    mixed = [entry for factor in (0.5, 1.0, 2.0) for entry in boards(10, 9.5 * factor, 10.0 * factor)]

    assert judge_wave(PLAN, Budget(), mixed, {"orin": 1000}).verdict == "proven"


def test_one_class_that_is_worse_is_enough():
    both = [*boards(20, 9.0, 10.0, "orin"), *boards(20, 30.0, 10.0, "nano")]
    judgement = judge_wave(PLAN, Budget(), both, {"orin": 1000, "nano": 1000})

    assert judgement.verdict == "worse"
    assert [(figure.hardware_class, figure.verdict) for figure in judgement.figures] == [("nano", "worse"), ("orin", "proven")]


def test_a_few_bad_devices_among_many_are_borne():
    mostly = [*boards(95, 9.0, 10.0), *boards(5, 20.0, 10.0)]

    assert wilson(95, 100, 0.9)[0] > 0.8
    assert judge_wave(PLAN, Budget(), mostly, {"orin": 1000}).verdict == "proven"


@pytest.mark.parametrize(
    ("budget", "figures", "verdict"),
    [
        (Budget(min_agreement=0.98), Figures(agreement=0.985), "proven"),
        (Budget(min_agreement=0.98), Figures(agreement=0.975), "worse"),
        (Budget(max_top1_drop=0.02), Figures(top1=0.95, top1_fp32=0.96), "proven"),
        (Budget(max_top1_drop=0.02), Figures(top1=0.93, top1_fp32=0.96), "worse"),
        (Budget(min_sqnr_db=20), Figures(sqnr_db=19.9), "worse"),
        (Budget(min_sqnr_db=20), Figures(sqnr_db=20.0), "proven"),
        (Budget(max_energy_mj=5), Figures(energy_mj=5.0), "proven"),
        (Budget(max_energy_mj=5), Figures(energy_mj=5.1), "worse"),
        (Budget(max_energy_mj=5), Figures(energy_mj=None), "proven"),
        (Budget(), Figures(latency_p99_ms=1e9), "proven"),
    ],
)
def test_every_figure_has_its_limit_and_what_has_none_is_not_judged(budget, figures, verdict):
    measured = [Measured(hardware_class="orin", new=figures) for _ in range(50)]

    assert judge_wave(PLAN, budget, measured, {"orin": 10_000}).verdict == verdict


def test_agreement_may_not_fall_below_the_former_engines():
    def fleet(new):
        return [Measured(hardware_class="orin", new=Figures(agreement=new), old=Figures(agreement=0.99)) for _ in range(50)]

    assert judge_wave(PLAN, Budget(), fleet(0.98), {"orin": 1000}).verdict == "proven"
    assert judge_wave(PLAN, Budget(), fleet(0.979), {"orin": 1000}).verdict == "worse"


def test_only_all_devices_prove_a_share_of_one():
    plan = RolloutPlan(min_good_share=1.0)

    assert judge_wave(plan, Budget(max_latency_p99_ms=10), boards(99, 9.0), {"orin": 100}).verdict == "unproven"
    assert judge_wave(plan, Budget(max_latency_p99_ms=10), boards(100, 9.0), {"orin": 100}).verdict == "proven"


def test_medians_are_told_to_people():
    measured = [
        Measured(hardware_class="orin", new=Figures(latency_p99_ms=value), old=Figures(latency_p99_ms=value * 2)) for value in (1.0, 3.0, 8.0, 4.0)
    ]
    (figure,) = judge_wave(PLAN, Budget(), measured, {"orin": 4}).figures

    assert (figure.median_new, figure.median_old) == (3.5, 7.0)
    assert math.isclose(figure.low, 1.0)
