"""What holds of every pass on any network: drawn from blocks with coupled groups, odd shapes, groups, dilation, auto_pad and uneven pads."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.traits import broken_trait
from edgewright.core.errors import Rejected
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = settings(max_examples=10)
STEPS = [
    ("factorize", {"macs_ratio": 0.85, "step": 2}),
    ("depthwise_separable", {"macs_ratio": 0.9}),
    ("prune_channels", {"macs_ratio": 0.9, "step": 2}),
    ("fold_channels", {"macs_ratio": 0.9, "step": 2}),
    ("share_weights", {"ratio": 4.0}),
    ("sparsify_2_4", {}),
]


@st.composite
def convolutions(draw):
    """The attributes of a convolution whose output is never empty on 9 × 8 and more."""
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1), (1, 4)]))
    attributes = {"kernel": kernel, "strides": draw(st.sampled_from([[1, 1], [2, 1], [1, 2]]))}
    if draw(st.booleans()):
        attributes["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        return attributes
    attributes["dilations"] = draw(st.sampled_from([[1, 1], [2, 1]]))
    attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2)] + [draw(st.integers(1, 3)) for _ in range(2)]
    return attributes


BLOCKS = st.one_of(
    st.tuples(st.sampled_from(["plain", "grouped", "depthwise"]), convolutions(), st.sampled_from([8, 12, 16])),
    st.tuples(st.sampled_from(["residual", "concat"]), st.just({}), st.sampled_from([8, 12])),
)
NETWORKS = st.tuples(st.lists(BLOCKS, min_size=2, max_size=4), st.sampled_from([(24, 21), (19, 26)]), st.integers(0, 2**16))


def built(maker, drawn):
    """The drawn network, or None when its picture shrinks to nothing on the way."""
    blocks, size, seed = drawn
    m = maker(4, size, seed)
    x = m.op("Relu", m.conv("x", 12))
    for kind, attributes, out in blocks:
        x = _BUILD[kind](m, x, attributes, out)
    try:
        model = m.head(x, 6)
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return None
    return model


_BUILD = {
    "plain": lambda m, x, attributes, out: m.op("Relu", m.conv(x, out, **attributes)),
    "grouped": lambda m, x, attributes, out: m.op("Clip", m.conv(x, out, groups=2, **attributes)),
    "depthwise": lambda m, x, attributes, out: m.op("Relu", m.conv(x, m.channels[x], groups=m.channels[x], **attributes)),
    "residual": lambda m, x, attributes, out: m.op("Relu", m.op("Add", m.conv(m.op("Relu", m.conv(x, out)), m.channels[x]), x)),
    "concat": lambda m, x, attributes, out: m.op(
        "Concat", m.op("Relu", m.conv(x, out, (1, 1), pads=[0, 0, 0, 0])), m.op("Relu", m.conv(x, out)), out=2 * out, axis=1
    ),
}


def outcome(step, network, context):
    """What the pass makes, or its refusal."""
    try:
        return step.work.call(network, step.options, context)
    except Rejected as error:
        return error


@pytest.mark.parametrize(("name", "fields"), STEPS)
def test_a_pass_on_any_network_keeps_its_word_or_says_why_not(name, fields, maker, samples, context, run_model):
    step = make_step(name, fields)

    @EXAMPLES
    @given(NETWORKS)
    def holds(drawn):
        model = built(maker, drawn)
        if model is None:
            return
        network, data = Network(model), samples(model, 16)
        before = model.SerializeToString(deterministic=True)
        result = outcome(step, network, context(data if step.work.needs_data else None))
        if isinstance(result, Rejected):
            assert (result.code, bool(result.next_step)) == ("ratio-unreachable", True)
            return
        assert model.SerializeToString(deterministic=True) == before
        assert result.modified or result.notes
        onnx.checker.check_model(result.model)
        made, outputs = Network(result.model), run_model(result.model, data)
        assert outputs.shape == run_model(model, data).shape
        assert np.isfinite(outputs).all()
        assert all(broken_trait(made, trait) is None for trait in step.work.ensures) or not result.modified
        if result.modified and "macs_ratio" in fields:
            assert made.macs <= fields["macs_ratio"] * network.macs

    holds()


def test_factorising_all_but_nothing_away_changes_all_but_nothing(maker, samples, context, run_model):
    step = make_step("factorize", {"energy": 0.9999, "step": 1})

    @EXAMPLES
    @given(NETWORKS)
    def holds(drawn):
        model = built(maker, drawn)
        if model is None:
            return
        data = samples(model, 16)
        result = step.work.call(Network(model), step.options, context(data))
        y, changed = run_model(model, data), run_model(result.model, data)
        assert np.square(y - changed).sum() <= 0.02 * np.square(y - y.mean(0)).sum()

    holds()
