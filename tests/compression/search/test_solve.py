"""The integer program finds what trying everything finds."""

from __future__ import annotations

from itertools import product

import pytest
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.predict import damage_of
from edgewright.compression.search.solve import Limits, solve


def every_plan(space):
    """All plans whose layers have a form only where their channels are whole."""
    forms = [(None, *site.forms) for site in space.sites]
    for levels in product(*(range(len(width.levels)) for width in space.widths)):
        chosen = {width.makers: level for width, level in zip(space.widths, levels, strict=True) if level}
        for ways in product(*forms):
            plan = Plan({site.layer.name: way.choice for site, way in zip(space.sites, ways, strict=True) if way is not None}, chosen)
            touched = {space.widths[index].makers for site in space.sites if site.layer.name in plan.forms for index in site.widths}
            if not touched & chosen.keys():
                yield plan


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [0.0, 0.05, 0.2, 0.5, 5.0])
def test_the_chosen_plan_is_the_best_of_all(chain_model, make_space, filled, seed, limit):
    space = make_space(chain_model, 3, seed=seed)
    prices = filled(space, seed)
    plans = list(every_plan(space))
    assert 100 < len(plans) <= 4096

    best = min(prices.total_ms(plan) for plan in plans if damage_of(space, plan) <= limit + 1e-9)
    found = solve(prices, Limits(limit))

    assert damage_of(space, found) <= limit + 1e-6
    assert prices.total_ms(found) <= 1.02 * best


def test_tied_layers_are_one_decision(residual_model, make_space, filled):
    space = make_space(residual_model, 2, forms=False)
    prices = filled(space)
    plans = list(every_plan(space))

    found = solve(prices, Limits(0.3))

    best = min(prices.total_ms(plan) for plan in plans if damage_of(space, plan) <= 0.3)
    assert prices.total_ms(found) <= 1.02 * best
    tied = next(width for width in space.widths if len(width.makers) > 1)
    assert sum(tied.makers[0] in makers for makers in found.levels) <= 1


def test_a_limit_on_bytes_is_kept(chain_model, make_space, filled):
    space = make_space(chain_model, 3)
    prices = filled(space)
    most = 0.8 * prices.total_bytes(Plan())

    found = solve(prices, Limits(5.0, most))

    assert prices.total_bytes(found) <= most


def test_what_cannot_be_met_has_no_plan(chain_model, make_space, filled):
    prices = filled(make_space(chain_model, 2, forms=False))

    assert solve(prices, Limits(0.0, 1.0)) is None


def test_an_excluded_plan_is_not_given_again(chain_model, make_space, filled):
    space = make_space(chain_model, 3)
    prices = filled(space)
    first = solve(prices, Limits(0.3))

    second = solve(prices, Limits(0.3), excluded=[first])

    assert first.text != second.text
    assert prices.total_ms(second) >= prices.total_ms(first) - 1e-9


def test_the_smallest_is_another_plan_than_the_fastest(chain_model, make_space, filled):
    space = make_space(chain_model, 3)
    prices = filled(space)

    fastest, smallest = solve(prices, Limits(0.4)), solve(prices, Limits(0.4), "size")

    assert prices.total_bytes(smallest) <= prices.total_bytes(fastest)
    assert prices.total_ms(fastest) <= prices.total_ms(smallest)


def test_what_the_solver_prints_does_not_reach_the_standard_output(chain_model, make_space, filled, capfd):
    prices = filled(make_space(chain_model, 3))

    for limit in (0.01, 0.1, 0.2, 0.3, 0.4):
        solve(prices, Limits(limit))
    print("mine")  # noqa: T201

    assert capfd.readouterr().out == "mine\n"
