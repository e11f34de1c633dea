"""Float is a choice of single layers in a network of codes."""

from __future__ import annotations

import onnx
import pytest
from edgewright.calibration.table import Range, RangeTable
from edgewright.compression.activations import Engine
from edgewright.compression.fidelity import record_reference
from edgewright.compression.network import Network
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.precision import Codes, float_choices, float_gains, offering_float
from edgewright.compression.search.predict import damage_of
from edgewright.compression.search.prices import Prices, state_in
from edgewright.compression.search.solve import Limits, solve, unavailable
from edgewright.core.costs import Cost


@pytest.fixture
def network(chain_model):
    return Network(onnx.shape_inference.infer_shapes(chain_model))


@pytest.fixture
def codes(network):
    """Good ranges, but for what the second layer reads: far too wide, so that it has next to no codes left."""
    tensors = {name: Range(-8.0, 8.0, "minmax", 8) for layer in network.layers for name in (layer.source, layer.output)}
    relu = {node.output[0]: Range(0.0, 8.0, "minmax", 8) for node in network.model.graph.node if node.op_type == "Relu"}
    return Codes(RangeTable(model="", ranges={**tensors, **relu, network.layers[1].source: Range(0.0, 4000.0, "minmax", 8)}), frozenset())


def test_a_layer_with_a_bad_range_gains_more_in_float_than_one_with_a_good_one(network, codes, samples):
    reference = record_reference(network, samples(network.model).first(8), Engine(), is_classifier=True)

    gains = float_gains(network, codes, reference, Engine(), lambda *_: None, lambda: False)

    assert set(gains) == set(float_choices(network, codes))
    assert gains[network.layers[1].name] > gains[network.layers[2].name]


def test_without_time_float_is_offered_for_its_speed_alone(network, codes, samples):
    reference = record_reference(network, samples(network.model).first(8), Engine(), is_classifier=True)

    gains = float_gains(network, codes, reference, Engine(), lambda *_: None, lambda: True)

    assert set(gains.values()) == {0.0}


def test_layers_that_are_float_anyway_are_no_choice(network, codes):
    first = network.layers[0].name

    assert first not in float_choices(network, Codes(codes.ranges, frozenset({first})))


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_a_layer_that_is_faster_in_float_is_left_in_float(chain_model, make_space, filled):
    space = make_space(chain_model, forms=False)
    name = space.sites[1].layer.name
    prices = filled(offering_float(space, {name: 0.0}))
    site = next(site for site in prices.space.sites if site.layer.name == name)
    floating = Plan({}, {}, frozenset({name}))
    prices.table.add({prices.variant(site, state_in(prices.space, site, floating)): Cost(ms=0.0051, spread_ms=0.0)})

    assert solve(prices, Limits(damage=0.0)) == floating


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_float_makes_room_for_choices_that_would_lose_too_much(chain_model, make_space, filled):
    space = make_space(chain_model, forms=False)
    name, least = space.sites[-1].layer.name, min(width.damages[1] for width in space.widths)
    prices = filled(offering_float(space, {name: least}))

    plan = solve(prices, Limits(damage=least / 2))

    assert plan is not None
    assert (plan.floats == {name}) == bool(plan.levels)
    assert damage_of(prices.space, plan) <= least / 2 + 1e-9


def test_floats_of_the_start_are_priced_as_float(chain_model, make_space, filled):
    space = make_space(chain_model)
    site = space.sites[0]
    prices = Prices(space, filled(space).table, "codes", frozenset({site.layer.name}))

    assert prices.variant(site, state_in(space, site, Plan())).setting == "island"
