"""What was measured is the price; what was not is the product of the shares."""

from __future__ import annotations

import pytest
from edgewright.compression.search.costs import CostTable
from edgewright.compression.search.plan import Plan, Variant
from edgewright.compression.search.prices import Prices
from edgewright.compression.search.space import State
from edgewright.core.costs import Cost


def test_the_launch_is_no_part_of_a_layer(chain_model, make_space):
    space = make_space(chain_model)
    table = CostTable("here")
    prices = Prices(space, table, "codes")
    site = space.sites[1]
    table.add({Variant((), (), "codes"): Cost(ms=0.5, spread_ms=0.0)})
    table.add({prices.variant(site, State((0, 0), None, is_float=False)): Cost(ms=2.0, spread_ms=0.0)})

    assert Prices(space, table, "codes").price(site, State((0, 0), None, is_float=False)).ms == 1.5


def test_a_combination_that_was_not_timed_is_the_product_of_its_shares(chain_model, make_space):
    space = make_space(chain_model)
    table = CostTable("here")
    prices = Prices(space, table, "codes")
    site = space.sites[1]
    known = {(0, 0): 8.0, (1, 0): 6.0, (0, 1): 4.0}
    table.add({prices.variant(site, State(levels, None, is_float=False)): Cost(ms=ms, spread_ms=0.0) for levels, ms in known.items()})

    # Three quarters and one half of eight.
    assert Prices(space, table, "codes").price(site, State((1, 1), None, is_float=False)).ms == pytest.approx(3.0)


def test_the_layers_as_they_are_are_timed_first(chain_model, make_space):
    space = make_space(chain_model)
    prices = Prices(space, CostTable("here"), "codes")

    wanted = list(prices.wanted())

    assert wanted[0] == Variant((), (), "codes")
    assert [variant.chain for variant in wanted[1 : 1 + len(space.sites)]] == [(site.layer.geometry,) for site in space.sites]


def test_a_plan_is_the_sum_of_its_sites(chain_model, make_space, filled):
    space = make_space(chain_model)
    prices = filled(space)
    plan = Plan({}, {space.widths[0].makers: 2})

    expected = sum(prices.price(site, State(tuple(2 if index == 0 else 0 for index in site.widths), None, is_float=False)).ms for site in space.sites)
    assert prices.total_ms(plan) == pytest.approx(expected)


def test_energy_that_was_not_measured_is_time_at_the_power_of_the_rest(chain_model, make_space, filled):
    space = make_space(chain_model)
    prices = filled(space)
    known, unknown = space.sites[:2]
    as_it_is = lambda site: State((0,) * len(site.widths), None, is_float=False)
    cost = prices.table.get(prices.variant(known, as_it_is(known)))
    prices.table.add({prices.variant(known, as_it_is(known)): Cost(ms=cost.ms, spread_ms=0.0, energy_mj=2 * cost.ms)})

    prices = Prices(space, prices.table, "codes")

    # 2 mJ per ms are 2 W; the launch is taken off both.
    found = [prices.price(site, as_it_is(site)) for site in (known, unknown)]
    assert [price.of("energy") for price in found] == pytest.approx([2 * price.ms for price in found])


def test_without_a_sensor_time_stands_for_energy(chain_model, make_space, filled):
    prices = filled(make_space(chain_model))
    site = prices.space.sites[0]

    price = prices.price(site, State((0,) * len(site.widths), None, is_float=False))

    assert (price.energy_mj, price.of("energy")) == (None, price.ms)
