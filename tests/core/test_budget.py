"""The budget and its gate: every limit, every reason, and nothing unmeasured passes by itself."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from edgewright.core.budget import Budget, Verdict, budget_from_toml, check_budget, judge
from edgewright.core.errors import Rejected
from edgewright.core.measurement import Candidate, Energy, Fidelity, Latency

LATENCY = Latency(mean=2.0, p50=2.0, p90=3.0, p99=5.0, samples=200)
FIDELITY = Fidelity(top1_fp32=0.900, top1=0.885, agreement=0.96, sqnr_db=22.0, samples=500)
ENERGY = Energy(mean=40.0, ci95=(39.0, 41.0), source="ina3221")
MEASURED = Candidate(
    name="int8", backend="onnxruntime", path="m.onnx", size_bytes=1000, latency_ms=LATENCY, energy_mj=ENERGY, fidelity=FIDELITY,
    build_s=12.0, build_memory_mb=300.0,
)  # fmt: skip
NOTHING = Candidate(
    name="int8", backend="onnxruntime", path="m.onnx", size_bytes=1000, latency_ms=None, energy_mj=None, fidelity=None,
    energy_reason="no sensor",
)  # fmt: skip

# limit, the value that MEASURED has, a value that is just too tight for it
LIMITS = [
    ("max_top1_drop", 0.015, 0.014),
    ("min_agreement", 0.96, 0.961),
    ("min_sqnr_db", 22.0, 22.1),
    ("max_latency_p99_ms", 5.0, 4.9),
    ("max_energy_mj", 40.0, 39.9),
    ("max_size_bytes", 1000, 999),
    ("max_build_s", 12.0, 11.9),
    ("max_build_memory_mb", 300.0, 299.0),
]


def test_every_limit_of_the_budget_has_its_case() -> None:
    assert {name for name, _, _ in LIMITS} == {field.name for field in msgspec.structs.fields(Budget)} - {"on_unmeasured"}


@pytest.mark.parametrize(("limit", "exact", "tight"), LIMITS)
def test_a_value_exactly_at_its_limit_is_accepted(limit: str, exact: float, tight: float) -> None:
    verdict = judge(MEASURED, Budget(**{limit: exact}))

    assert (verdict.accepted, verdict.reasons, verdict.checks[0].outcome) == (True, (), "met")


@pytest.mark.parametrize(("limit", "exact", "tight"), LIMITS)
def test_a_value_beyond_its_limit_is_refused_and_the_reason_names_both(limit: str, exact: float, tight: float) -> None:
    verdict = judge(MEASURED, Budget(**{limit: tight}))

    assert not verdict.accepted
    assert [(reason.code, reason.family) for reason in verdict.reasons] == [("budget", "rejected")]
    assert f"{limit} = {tight:g}" in verdict.reasons[0].message
    assert verdict.checks[0].value == pytest.approx(exact)


@pytest.mark.parametrize(("limit", "exact", "tight"), [case for case in LIMITS if case[0] != "max_size_bytes"])
def test_an_unmeasured_value_is_refused_unless_the_owner_allows_it(limit: str, exact: float, tight: float) -> None:
    refused = judge(NOTHING, Budget(**{limit: exact}))
    allowed = judge(NOTHING, Budget(**{limit: exact}, on_unmeasured="allow"))

    assert (refused.accepted, allowed.accepted) == (False, True)
    for verdict in (refused, allowed):
        assert [reason.code for reason in verdict.reasons] == ["unmeasured"]
        assert (verdict.checks[0].outcome, verdict.checks[0].value) == ("unmeasured", None)


def test_allowing_the_unmeasured_does_not_allow_the_exceeded() -> None:
    verdict = judge(NOTHING, Budget(max_size_bytes=1, max_energy_mj=1.0, on_unmeasured="allow"))

    assert not verdict.accepted


def test_an_unmeasured_energy_gives_the_sensor_s_reason() -> None:
    assert "(no sensor)" in judge(NOTHING, Budget(max_energy_mj=1.0)).reasons[0].message


def test_nan_is_unmeasured() -> None:
    fidelity = msgspec.structs.replace(FIDELITY, sqnr_db=math.nan)

    verdict = judge(msgspec.structs.replace(MEASURED, fidelity=fidelity), Budget(min_sqnr_db=1.0))

    assert (verdict.accepted, verdict.checks[0].outcome) == (False, "unmeasured")


def test_infinite_sqnr_is_as_good_as_it_gets() -> None:
    fidelity = msgspec.structs.replace(FIDELITY, sqnr_db=math.inf)

    assert judge(msgspec.structs.replace(MEASURED, fidelity=fidelity), Budget(min_sqnr_db=1000.0)).accepted


def test_all_reasons_are_given_at_once() -> None:
    budget = Budget(**{limit: tight for limit, _, tight in LIMITS})

    assert len(LIMITS) == len(judge(MEASURED, budget).reasons)


def test_no_limits_accept_even_what_was_not_measured() -> None:
    assert judge(NOTHING, Budget()) == Verdict(accepted=True)


def test_a_better_top1_than_the_original_meets_a_drop_of_zero() -> None:
    fidelity = msgspec.structs.replace(FIDELITY, top1=0.91)

    assert judge(msgspec.structs.replace(MEASURED, fidelity=fidelity), Budget(max_top1_drop=0.0)).accepted


def test_a_zero_limit_is_a_limit() -> None:
    assert not judge(MEASURED, Budget(max_energy_mj=0.0)).accepted


def test_a_budget_is_read(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text('max_top1_drop = 0.015\nmax_size_bytes = 5\non_unmeasured = "allow"\n')

    assert budget_from_toml(tmp_path / "budget.toml") == Budget(max_top1_drop=0.015, max_size_bytes=5, on_unmeasured="allow")


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text("max_latency_ms = 5\n")

    with pytest.raises(Rejected, match="max_latency_ms") as caught:
        budget_from_toml(tmp_path / "budget.toml")

    assert (caught.value.code, caught.value.next_step) == ("budget-unknown-key", "Did you mean 'max_latency_p99_ms'?")


@pytest.mark.parametrize(
    "line",
    [
        "max_top1_drop = 1.5",
        "min_agreement = -0.1",
        "max_energy_mj = -1",
        "max_energy_mj = nan",
        "max_energy_mj = inf",
        'max_energy_mj = "much"',
        "max_size_bytes = 1.5",
        'on_unmeasured = "maybe"',
        "max_build_s = true",
    ],
)
def test_a_value_that_means_nothing_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "budget.toml").write_text(line + "\n")

    with pytest.raises(Rejected) as caught:
        budget_from_toml(tmp_path / "budget.toml")

    assert caught.value.code == "budget-bad-value"


def test_a_negative_sqnr_is_a_limit_like_any_other() -> None:
    check_budget(Budget(min_sqnr_db=-3.0))
