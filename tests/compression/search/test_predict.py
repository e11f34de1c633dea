"""Predictions, and what whole networks teach them."""

from __future__ import annotations

import pytest
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.predict import Prediction, Timed, Tried, corrected, damage_of, delta_ms


def test_nothing_changed_is_the_measured_time(chain_model, make_space, filled, nothing):
    assert Prediction(2.5).ms(filled(make_space(chain_model)), nothing) == 2.5


def test_damages_add_up(chain_model, make_space):
    space = make_space(chain_model)
    plan = Plan({space.sites[-2].layer.name: space.sites[-2].forms[0].choice}, {space.widths[0].makers: 1})

    assert damage_of(space, plan) == pytest.approx(space.widths[0].damages[1] + space.sites[-2].forms[0].damage)


def test_without_plans_the_first_guess_holds():
    assert corrected(1.0, [], [], 0.9).gain == 0.9
    assert corrected(1.0, [], []).scale == 1.0


def test_one_plan_moves_the_prediction_half_of_the_way():
    found = corrected(1.0, [Timed(-0.2, -0.1)], [Tried(Plan(), 0.1, 0.3)])

    # Least squares through zero of (0.2, 0.1) and the imagined (0.2, 0.2).
    assert found.gain == pytest.approx(0.75)
    assert found.scale == pytest.approx(2.0)


def test_many_plans_outweigh_the_guess():
    assert corrected(1.0, [Timed(-0.2, -0.1)] * 20, []).gain == pytest.approx(0.5, abs=0.03)


def test_what_a_plan_saves_is_its_delta(chain_model, make_space, filled):
    space = make_space(chain_model)
    prices = filled(space)
    plan = Plan({}, {space.widths[0].makers: 2})

    assert Prediction(10.0, 0.5).ms(prices, plan) == pytest.approx(10.0 + 0.5 * delta_ms(prices, plan))
