"""A small space with known prices and damages, and tables that were filled in instead of measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from edgewright.compression.activations import Engine
from edgewright.compression.coupling import couple
from edgewright.compression.fidelity import record_reference
from edgewright.compression.forms.lowrank import FORM as LOW_RANK
from edgewright.compression.network import Network
from edgewright.compression.repair.rebuild import Choice
from edgewright.compression.search.costs import CostTable
from edgewright.compression.search.damage import explore
from edgewright.compression.search.plan import Plan, Variant
from edgewright.compression.search.prices import Prices
from edgewright.compression.search.space import Form, Space, Width, sites_of
from edgewright.core.costs import Cost


@pytest.fixture
def chain_model(maker):
    """Four convolutions in a row: three inner widths, none of them tied to another."""
    m = maker(3, (8, 8), 1)
    out = "x"
    for channels in (16, 16, 16):
        out = m.op("Relu", m.conv(out, channels))
    return m.head(m.op("Relu", m.conv(out, 8)), 4)


@pytest.fixture
def make_space() -> Callable[..., Space]:
    """``make_space(model, levels)``: every group may lose quarters of its channels; each layer has one form of low rank. Damages are drawn."""

    def make(model, levels=3, *, seed=0, forms=True) -> Space:
        rng = np.random.default_rng(seed)
        network = Network(model)
        coupling = couple(network)
        widths = []
        for group in coupling.groups:
            step = len(group.bundles) // 8
            gone = tuple(tuple(group.bundles[: step * level]) for level in range(levels))
            widths.append(Width(group.makers, gone, tuple(float(value) for value in np.cumsum([0, *rng.uniform(0.01, 0.2, levels - 1)]))))
        ways = {
            layer.name: (Form(Choice(LOW_RANK, (4,)), float(rng.uniform(0.01, 0.3))),)
            for layer in network.layers
            if forms and LOW_RANK.refusal(layer) is None and layer.geometry.kernel
        }
        return Space(network, coupling, tuple(widths), sites_of(network, coupling, widths, ways))

    return make


@pytest.fixture
def filled() -> Callable[[Space], Prices]:
    """Prices of a space from a table with every variant in it: a launch, a part per multiply-accumulate, and noise that no formula knows."""

    def fill(space: Space, seed: int = 0) -> Prices:
        rng = np.random.default_rng(seed)
        table = CostTable("test")
        prices = Prices(space, table, "codes")
        table.add({Variant((), (), "codes"): Cost(ms=0.005, spread_ms=0.0001)})
        for site in space.sites:
            for state in space.states(site):
                variant = prices.variant(site, state)
                macs = sum(piece.params for piece in variant.chain) * 64
                table.add({variant: Cost(ms=0.005 + macs * 1e-6 * float(rng.uniform(0.7, 1.3)), spread_ms=0.0001)})
        return Prices(space, table, "codes")

    return fill


@pytest.fixture(scope="session")
def explored(shared_residual_model, samples) -> Space:
    """The space of the residual network with everything in it, weighed on real samples."""
    network, data = Network(shared_residual_model), samples(shared_residual_model)
    reference = record_reference(network, data.first(16), Engine(), is_classifier=True)
    return explore(network, data, reference, Engine(), lambda *_: None)


@pytest.fixture
def nothing() -> Plan:
    return Plan()
