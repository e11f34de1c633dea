"""Coupled channels, and cutting them: what is left computes what masking the removed channels computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.compression.coupling import couple
from edgewright.compression.network import Network
from edgewright.compression.surgery import cut_channels
from onnx import numpy_helper


def test_a_sum_ties_its_makers_and_what_passes_between(residual_model):
    groups = {group.makers: len(group.bundles) for group in couple(Network(residual_model)).groups}

    assert groups[("t1/conv", "t5/conv")] == 16  # the residual stream, through the depthwise layer
    assert groups[("t3/conv",)] == 24
    assert ("head",) not in groups  # the output stays
    assert sum(groups.values()) == 16 + 24 + 16 + 16 + 24


def test_what_is_not_understood_pins_its_channels(maker):
    m = maker(3, (6, 6), 0)
    inside = m.op("Transpose", m.conv("x", 8), perm=[0, 2, 3, 1])
    m.channels[inside] = 6
    model = m.model(inside, ["N", 6, 6, 8])

    assert couple(Network(model)).groups == ()


def test_two_layers_that_share_weights_stay(maker):
    m = maker(8, (6, 6), 0)
    first = m.conv("x", 8)
    m.nodes.append(onnx.helper.make_node("Conv", [first, f"{first}/w", f"{first}/b"], ["again"], "again/conv", pads=[1, 1, 1, 1]))
    m.channels["again"] = 8
    model = m.head(m.conv("again", 8), 3)

    assert [group.makers for group in couple(Network(model)).groups] == [("t2/conv",)]


def silence(model, kept, network):
    """A copy in which removed channels are zero wherever a layer makes them, and are read by nobody: plain masking."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = {tensor.name: tensor for tensor in copy.graph.initializer}
    for layer in network.layers:
        weight = numpy_helper.to_array(values[layer.weight]).copy()
        bias = numpy_helper.to_array(values[layer.bias]).copy()
        if layer.output in kept:
            gone = np.setdiff1d(np.arange(len(weight)), kept[layer.output])
            weight[gone], bias[gone] = 0, 0
        if layer.source in kept and layer.geometry.groups == 1:
            gone = np.setdiff1d(np.arange(weight.shape[1]), kept[layer.source])
            weight[:, gone] = 0
        values[layer.weight].CopyFrom(numpy_helper.from_array(weight, layer.weight))
        values[layer.bias].CopyFrom(numpy_helper.from_array(bias, layer.bias))
    return copy


@pytest.mark.parametrize("seed", range(4))
def test_cutting_channels_is_masking_them(residual_model, samples, run_model, seed):
    network = Network(residual_model)
    coupling = couple(network)
    rng = np.random.default_rng(seed)
    removed = frozenset(int(b) for group in coupling.groups for b in rng.choice(group.bundles, len(group.bundles) // 3, replace=False))
    kept = coupling.kept(removed)

    cut = cut_channels(network, kept, {})

    data = samples(residual_model, 16)
    onnx.checker.check_model(cut)
    assert run_model(cut, data) == pytest.approx(run_model(silence(residual_model, kept, network), data), abs=1e-4)
    assert Network(cut).macs < 0.75 * network.macs
