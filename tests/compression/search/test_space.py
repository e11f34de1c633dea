"""What may be chosen, and what a layer is in each state."""

from __future__ import annotations

from edgewright.compression.network import Network
from edgewright.compression.search.space import State


def test_a_layer_loses_the_channels_of_every_width_that_it_reads_or_makes(residual_model, make_space):
    space = make_space(residual_model, 3, forms=False)
    network = Network(residual_model)
    depthwise = next(site for site in space.sites if site.layer.geometry.groups > 1)
    most = State((2,) * len(depthwise.widths), None, is_float=False)

    (made,) = space.chain(depthwise, most)

    assert (made.channels_in, made.channels_out, made.groups) == (12, 12, 12)
    assert network.layer(depthwise.layer.name).geometry.channels_in == 16


def test_layers_of_a_residual_sum_share_a_width(residual_model, make_space):
    space = make_space(residual_model)

    tied = [width for width in space.widths if len(width.makers) > 1]

    assert len(tied) == 1
    assert all(sum(width.makers.count(maker) for width in space.widths) == 1 for maker in tied[0].makers)


def test_a_form_is_only_for_a_layer_whose_channels_are_whole(chain_model, make_space):
    space = make_space(chain_model)

    states = [state for site in space.sites for state in space.states(site) if state.form is not None]

    assert states
    assert all(not any(state.levels) for state in states)


def test_the_plans_are_counted(chain_model, make_space):
    space = make_space(chain_model, 3, forms=False)

    assert space.plans == 3.0 ** len(space.widths)
