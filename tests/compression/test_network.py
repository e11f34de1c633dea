"""The network view: geometry and costs against independent arithmetic, and against what the runtime itself makes."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.compression.activations import Engine, Positions, stream
from edgewright.compression.network import Network
from hypothesis import given, settings
from hypothesis import strategies as st


def test_macs_and_parameters_are_those_of_the_formula(maker):
    m = maker(3, (10, 12), 0)
    model = m.head(m.conv(m.conv("x", 8, strides=[2, 2]), 16, (1, 1), pads=[0, 0, 0, 0]), 5)

    network = Network(model)

    assert network.macs == 8 * 3 * 9 * (5 * 6) + 16 * 8 * (5 * 6) + 5 * 16
    assert network.params == (8 * 3 * 9 + 8) + (16 * 8 + 16) + (5 * 16 + 5)
    assert [layer.op for layer in network.layers] == ["Conv", "Conv", "Gemm"]


def test_a_depthwise_convolution_costs_a_channel_s_share(maker):
    m = maker(8, (6, 6), 0)

    network = Network(m.head(m.conv("x", 8, groups=8), 2))

    assert network.layers[0].macs == 8 * 9 * 36


def test_weights_that_are_not_constant_make_no_layer(maker):
    m = maker(4, (5, 5), 0)
    kernel = m.op("Reshape", "x", "shape", out=4)
    import onnx

    m.constants.append(onnx.numpy_helper.from_array(np.array([4, 4, 5, 5]), "shape"))
    m.nodes.append(onnx.helper.make_node("Conv", ["x", kernel], ["y"], "dynamic"))
    m.channels["y"] = 4

    assert Network(m.model("y", ["N", 4, None, None])).layers == ()


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 3), (1, 3), (2, 2)]),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 4]),
    padding=st.one_of(st.tuples(*[st.integers(0, 2)] * 4), st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])),
)
def test_rows_times_weights_are_what_the_runtime_makes(size, kernel, strides, dilations, groups, padding, maker_class, make_samples_of):
    if isinstance(padding, str):
        dilations = (1, 1)  # ONNX Runtime refuses dilation with automatic padding
    if any(window + (window - 1) * (spread - 1) > extent for window, spread, extent in zip(kernel, dilations, size, strict=True)):
        return
    m = maker_class(4, size, 3)
    pads = {"auto_pad": padding} if isinstance(padding, str) else {"pads": list(padding)}
    y = m.conv("x", 8, kernel, groups, strides=list(strides), dilations=list(dilations), **pads)
    model = m.model(y, ["N", 8, None, None])
    network = Network(model)
    layer = network.layers[0]
    samples = make_samples_of(model, 8)

    values = next(stream(model, [y, "x"], samples, Engine()))
    positions = Positions.draw(layer, samples.batches[0], 7)
    x = positions.inputs(layer, values["x"], 8).astype(np.float64)
    weight = network.weight(layer).reshape(groups, 8 // groups, -1).astype(np.float64)
    predicted = np.einsum("ngd,god->ngo", x, weight).reshape(len(x), 8) + network.bias(layer)

    assert predicted == pytest.approx(positions.outputs(layer, values[y], 8), abs=1e-4)
    assert layer.geometry.size_after(layer.size) == values[y].shape[2:]


@pytest.fixture(scope="module")
def maker_class(request):
    return _conftest(request).GraphMaker


@pytest.fixture(scope="module")
def make_samples_of(request):
    return _conftest(request).make_samples


def _conftest(request):
    """Hypothesis wants fixtures that live as long as the module: taken from the conftest of this folder."""
    manager = request.config.pluginmanager
    return next(plugin for plugin in manager.get_plugins() if getattr(plugin, "__file__", "").endswith("tests/compression/conftest.py"))
