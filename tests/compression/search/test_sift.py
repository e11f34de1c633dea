"""What is not sure to gain is not done."""

from __future__ import annotations

from edgewright.compression.search.costs import CostTable
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.prices import Prices, state_in
from edgewright.compression.search.sift import sifted
from edgewright.core.costs import Cost


def priced(space, costs):
    """Prices where every variant of a plan costs what `costs` says."""
    table = CostTable("here")
    prices = Prices(space, table, "codes")
    for plan, cost in costs:
        for site in space.sites:
            table.add({prices.variant(site, state_in(space, site, plan)): cost})
    return Prices(space, table, "codes")


def test_a_gain_within_the_spread_is_not_claimed(chain_model, make_space):
    space = make_space(chain_model)
    plan = Plan({}, {space.widths[0].makers: 1})
    # The order matters: layers that the plan leaves alone keep the first price.
    prices = priced(space, [(plan, Cost(ms=0.95, spread_ms=0.2)), (Plan(), Cost(ms=1.0, spread_ms=0.2))])

    assert not sifted(prices, plan, 5.0).levels


def test_a_sure_gain_stays(chain_model, make_space):
    space = make_space(chain_model)
    plan = Plan({}, {space.widths[0].makers: 1})
    prices = priced(space, [(plan, Cost(ms=0.7, spread_ms=0.01)), (Plan(), Cost(ms=1.0, spread_ms=0.01))])

    assert sifted(prices, plan, 5.0) == plan
