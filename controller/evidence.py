"""Whether a new model is good on a fleet: what devices measured, per hardware class, against the budget and against what they ran before. Pure.

Each device is good or not on each figure: within the budget, and not worse than its own former figure by more than the plan allows. The share of good
devices of a class has an interval: Wilson's (1927), one-sided at the plan's confidence, cut by what is known for certain (of N devices, those that
were measured are no estimate). No distribution is assumed, and a device is compared with itself, so that boards may differ.

- proven: the interval lies at or above the share that the plan demands; worse: it lies below; unproven: neither.
- a figure without a limit, or that no device of a class could measure, is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, median
from typing import Literal

import msgspec

from ..core.budget import Budget
from .rollout import Evidence
from .rollout_plan import RolloutPlan

FigureName = Literal["latency_p99_ms", "energy_mj", "agreement", "top1", "sqnr_db"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one device measured of one engine; None = not measured. `top1_fp32` belongs to the same samples as `top1`."""

    latency_p99_ms: float | None = None
    energy_mj: float | None = None
    agreement: float | None = None
    top1: float | None = None
    top1_fp32: float | None = None
    sqnr_db: float | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One device of the rollout that has measured: the new engine, and the one that it ran before (None = none)."""

    hardware_class: str
    new: Figures
    old: Figures | None = None


class ClassFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one hardware class. `low` and `high` bound the share of good devices; medians tell people how much it is about."""

    hardware_class: str
    figure: FigureName
    devices: int
    measured: int
    good: int
    low: float
    high: float
    median_new: float
    median_old: float | None
    verdict: Evidence


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of all classes, and what they come to."""

    verdict: Evidence
    note: str
    figures: tuple[ClassFigure, ...] = ()


def judge_wave(plan: RolloutPlan, budget: Budget, measured: Sequence[Measured], sizes: dict[str, int]) -> Judgement:
    """What the measurements prove; `sizes` says how many devices of each class the rollout has."""
    figures = [
        figure
        for name in sorted({entry.hardware_class for entry in measured})
        for figure in _class_figures(plan, budget, [entry for entry in measured if entry.hardware_class == name], sizes.get(name, 0))
    ]
    worse = [figure for figure in figures if figure.verdict == "worse"]
    unproven = [figure for figure in figures if figure.verdict == "unproven"]
    if worse:
        return Judgement(verdict="worse", note="; ".join(_words(figure) for figure in worse), figures=tuple(figures))
    if unproven:
        need = devices_needed(plan)
        note = "; ".join(_words(figure) for figure in unproven) + f"; {need} good devices of a class prove {plan.min_good_share:.0%}"
        return Judgement(verdict="unproven", note=note, figures=tuple(figures))
    return Judgement(verdict="proven", note="" if figures else "nothing had to be judged", figures=tuple(figures))


def share_interval(good: int, measured: int, devices: int, confidence: float) -> tuple[float, float]:
    """The one-sided bounds of the share of good devices among `devices`, of which `measured` have been looked at."""
    if measured == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(confidence) ** 2
    share = good / measured
    centre = (share + z2 / (2 * measured)) / (1 + z2 / measured)
    half = math.sqrt(z2) * math.sqrt(share * (1 - share) / measured + z2 / (4 * measured * measured)) / (1 + z2 / measured)
    population = max(devices, measured)
    return max(0.0, centre - half, good / population), min(1.0, centre + half, (good + population - measured) / population)


def devices_needed(plan: RolloutPlan) -> int:
    """How many devices of a large class, all of them good, prove the share that the plan demands."""
    if plan.min_good_share >= 1:
        return 10**9  # no sample proves it: only all devices do
    z2 = NormalDist().inv_cdf(plan.confidence) ** 2
    return max(1, math.ceil(round(z2 * plan.min_good_share / (1 - plan.min_good_share), 9)))


def _class_figures(plan: RolloutPlan, budget: Budget, entries: list[Measured], devices: int) -> list[ClassFigure]:
    rules: dict[FigureName, Callable[[Measured], bool | None]] = {
        "latency_p99_ms": lambda one: _at_most(one.new.latency_p99_ms, budget.max_latency_p99_ms, _old(one).latency_p99_ms, plan.max_latency_ratio),
        "energy_mj": lambda one: _at_most(one.new.energy_mj, budget.max_energy_mj, _old(one).energy_mj, plan.max_energy_ratio),
        "agreement": lambda one: _at_least(one.new.agreement, budget.min_agreement, _old(one).agreement, plan.max_agreement_drop),
        "top1": lambda one: _at_least(one.new.top1, _floor(one.new.top1_fp32, budget.max_top1_drop), _old(one).top1, plan.max_top1_drop),
        "sqnr_db": lambda one: _at_least(one.new.sqnr_db, budget.min_sqnr_db, None, 0.0),
    }
    found = []
    for figure, rule in rules.items():
        judged = [(entry, good) for entry in entries if (good := rule(entry)) is not None]
        if judged:
            found.append(_figure(plan, figure, judged, devices))
    return found


def _old(one: Measured) -> Figures:
    return one.old or Figures()


def _figure(plan: RolloutPlan, figure: FigureName, judged: list[tuple[Measured, bool]], devices: int) -> ClassFigure:
    good = sum(is_good for _, is_good in judged)
    low, high = share_interval(good, len(judged), devices, plan.confidence)
    new = [getattr(entry.new, figure) for entry, _ in judged]
    old = [value for entry, _ in judged if entry.old is not None and (value := getattr(entry.old, figure)) is not None]
    # Rounded: a bound that is met exactly must not fail by the last binary digit.
    demanded = plan.min_good_share - 1e-9
    verdict: Evidence = "proven" if low >= demanded else "worse" if high < demanded else "unproven"
    return ClassFigure(
        hardware_class=judged[0][0].hardware_class,
        figure=figure,
        devices=max(devices, len(judged)),
        measured=len(judged),
        good=good,
        low=low,
        high=high,
        median_new=median(new),
        median_old=median(old) if old else None,
        verdict=verdict,
    )


def _at_most(new: float | None, limit: float | None, old: float | None, ratio: float) -> bool | None:
    limits = [value for value in (limit, None if old is None else old * ratio) if value is not None]
    return None if new is None or not limits else new <= min(limits)


def _at_least(new: float | None, floor: float | None, old: float | None, drop: float) -> bool | None:
    floors = [value for value in (floor, None if old is None else old - drop) if value is not None]
    return None if new is None or not floors else new >= max(floors) - 1e-12


def _floor(reference: float | None, drop: float | None) -> float | None:
    return None if reference is None or drop is None else reference - drop


def _words(figure: ClassFigure) -> str:
    was = "" if figure.median_old is None else f", {figure.median_old:.4g} before"
    share = f"{figure.good} of {figure.measured} devices good, {figure.low:.0%} to {figure.high:.0%} of the class"
    return f"{figure.figure} on {figure.hardware_class or 'an unnamed class'}: median {figure.median_new:.4g}{was}; {share}"
