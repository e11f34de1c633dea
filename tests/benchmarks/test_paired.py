import math

import pytest


@pytest.fixture
def paired(benchmark):
    return benchmark("paired")


def run_of(top1, agreement=0.5):
    return {"top1": top1, "agreement": agreement}


# Printed tables of Student's t, two-sided 95 %.
@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (8, 2.306), (30, 2.042)])
def test_quantiles_are_the_printed_tables(paired, freedom, expected):
    assert paired.quantile(freedom) == pytest.approx(expected, abs=6e-4)


def test_the_tail_for_two_degrees_of_freedom_is_its_closed_form(paired):
    assert paired.tail(3.0, 2) == pytest.approx(1 - 3 / math.sqrt(2 + 9), rel=1e-5)


def test_an_interval_is_student_s(paired):
    assert paired.interval([1.0, 2.0, 3.0]) == f"2.0 ± {4.303 / math.sqrt(3):.1f} (s 1.0)"


def test_differences_are_taken_seed_by_seed(paired):
    known = {f"labels|{seed}": run_of(0.2 + 0.1 * seed) for seed in range(3)} | {f"hinton|{seed}": run_of(0.25 + 0.1 * seed) for seed in range(3)}

    rows = paired.table_of(known, "labels")

    # Seeds differ by ten points, and yet hinton is five points better in each: the interval of the difference has no width.
    assert rows[3].split(" | ")[4] == "5.0 ± 0.0 (s 0.0)"
    assert rows[2].split(" | ")[2].startswith("30.0 ± 24.8")


def test_of_several_comparisons_each_must_stand_up_to_their_number(paired):
    # Holm 1979: 3 × 0.01, then 2 × 0.03, then 1 × 0.04, and never less than the one before.
    assert paired.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_one_value_proves_nothing(paired):
    assert (paired.p_of([5.0]), paired.interval([5.0])) == (1.0, "5.0")
