"""A skeleton is the network of a plan before its weights are fitted."""

from __future__ import annotations

import numpy as np
from edgewright.compression.forms.lowrank import FORM as LOW_RANK
from edgewright.compression.network import Network
from edgewright.compression.repair.rebuild import Choice
from edgewright.compression.search.plan import Plan
from edgewright.compression.search.skeleton import float_names, skeleton
from edgewright.engines.ort.runner import open_on_cpu


def test_a_skeleton_has_the_shapes_of_its_plan_and_runs(chain_model, make_space):
    space = make_space(chain_model)
    formed = space.network.layers[1]
    plan = Plan({formed.name: Choice(LOW_RANK, (4,))}, {space.widths[-1].makers: 1})

    made = Network(skeleton(space, plan))

    by_name = {layer.name: layer.geometry for layer in made.layers}
    gone = len(space.widths[-1].levels[1])
    maker = space.widths[-1].makers[0]
    assert by_name[maker].channels_out == space.network.layer(maker).geometry.channels_out - gone
    assert (by_name[f"{formed.name}/1"].channels_out, by_name[f"{formed.name}/2"].channels_in) == (4, 4)
    with open_on_cpu(made.model.SerializeToString(), "the skeleton", threads=1) as runner:
        (output,) = runner.infer({"x": np.ones((1, 3, 8, 8), np.float32)}).values()
    assert np.isfinite(output).all()


def test_the_skeleton_of_nothing_is_the_network_itself(chain_model, make_space, nothing):
    space = make_space(chain_model)

    assert [node.op_type for node in skeleton(space, nothing).graph.node] == [node.op_type for node in chain_model.graph.node]


def test_a_layer_in_float_is_called_by_the_names_of_its_pieces(chain_model, make_space):
    space = make_space(chain_model)
    one, other = (layer.name for layer in space.network.layers[1:3])
    plan = Plan({one: Choice(LOW_RANK, (4,))}, {}, frozenset({other}))

    assert float_names(space, plan, frozenset({one})) == {f"{one}/1", f"{one}/2", other}
