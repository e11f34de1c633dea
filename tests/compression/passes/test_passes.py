"""The conformance suite of passes: whatever is found in the folder, over generated networks and over the real ones where they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.normalize import normalized_model
from edgewright.compression import passes
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.traits import broken_trait
from edgewright.core.errors import Rejected
from edgewright.core.plugins import plugin_names

NAMES = plugin_names(passes)
FIELDS = {
    "fold": {},
    "factorize": {"macs_ratio": 0.8},
    "depthwise_separable": {"macs_ratio": 0.9},
    "prune_channels": {"macs_ratio": 0.85, "step": 4},
    "fold_channels": {"macs_ratio": 0.9, "step": 4},
    "share_weights": {"ratio": 6.0},
    "sparsify_2_4": {},
}
MODELS = ["cifar10_resnet20", "kws_dscnn", "mnist_opset8", "mobilenet_v2", "squeezenet1.1", "squeezenet1.1_fp16_opset7", "ultraface_rfb320_opset9"]


def test_every_pass_of_the_folder_is_tried_here():
    assert set(FIELDS) == set(NAMES)


def generated(maker, kind):
    """Networks with what makes compression hard."""
    m = maker(4, (11, 13), 7)
    if kind == "odd":
        return m.head(m.op("Relu", m.conv(m.op("Relu", m.conv("x", 18, (5, 3), pads=[0, 2, 3, 1], strides=[2, 1])), 22)), 7)
    if kind == "groups":
        return m.head(m.op("Clip", m.conv(m.op("Relu", m.conv("x", 16, groups=2)), 16, groups=4)), 5)
    if kind == "dilated":
        return m.head(m.op("Relu", m.conv(m.op("Relu", m.conv("x", 16, dilations=[2, 2], pads=[2, 2, 2, 2])), 16)), 5)
    if kind == "auto_pad":
        return m.head(m.op("Relu", m.conv(m.op("Relu", m.conv("x", 16, auto_pad="SAME_LOWER", strides=[2, 2])), 16, auto_pad="VALID")), 5)
    return m.head(m.conv("x", 2, (1, 1), pads=[0, 0, 0, 0]), 2)  # nothing to gain


@pytest.mark.parametrize("kind", ["odd", "groups", "dilated", "auto_pad", "tiny", "residual"])
@pytest.mark.parametrize("name", NAMES)
def test_a_pass_works_or_refuses_with_a_reason(name, kind, maker, residual_model, samples, context, run_model):
    model = residual_model if kind == "residual" else generated(maker, kind)
    _holds(name, Network(model), samples(model), context, run_model, most_noise=0.6)


def _holds(name, network, data, context, run_model, most_noise):
    step = make_step(name, FIELDS[name])
    before = network.model.SerializeToString(deterministic=True)
    try:
        result = step.work.call(network, step.options, context(data if step.work.needs_data else None))
    except Rejected as error:
        refusal = error.reason
    else:
        refusal = None
    if refusal is not None:
        assert refusal.code == "ratio-unreachable"
        assert refusal.next
        return
    assert network.model.SerializeToString(deterministic=True) == before
    if not result.modified:
        assert result.notes
        return
    onnx.checker.check_model(result.model)
    made = Network(result.model)
    assert all(broken_trait(made, trait) is None for trait in step.work.ensures)
    y, changed = run_model(network.model, data), run_model(result.model, data)
    assert y.shape == changed.shape
    noise = float(np.square(y - changed).sum() / np.square(y - y.mean(0)).sum())
    assert noise < (1e-6 if name == "fold" else most_noise)
    if "macs_ratio" in FIELDS[name]:
        assert made.macs <= FIELDS[name]["macs_ratio"] * network.macs


@pytest.mark.parametrize("model_name", MODELS)
def test_passes_hold_on_real_models(model_name, shared_data, samples, context, run_model):
    network = Network(normalized_model(shared_data / "models" / f"{model_name}.onnx").model)
    data = samples(network.model, 8) if model_name != "ultraface_rfb320_opset9" else samples(network.model, 2)
    fold = make_step("fold", {})
    folded = Network(fold.work.call(network, fold.options, context(None)).model)

    y, changed = run_model(network.model, data), run_model(folded.model, data)

    assert changed == pytest.approx(y, abs=2e-4 * max(1.0, float(np.abs(y).max())))
    assert broken_trait(folded, "folded") is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model_name", ["cifar10_resnet20", "kws_dscnn", "mnist_opset8"])
def test_every_pass_works_or_refuses_on_real_models(model_name, name, shared_data, samples, context, run_model):
    """Random inputs tell nothing of fidelity; that a pass ends in a model of the same outputs or in a reason, they do.

    `benchmarks/compression.py --part passes` does the same on the larger models, and says what is left of them.
    """
    network = Network(normalized_model(shared_data / "models" / f"{model_name}.onnx").model)
    fold = make_step("fold", {})
    folded = Network(fold.work.call(network, fold.options, context(None)).model)

    _holds(name, folded, samples(network.model, 8), context, run_model, most_noise=float("inf"))


@pytest.mark.parametrize("name", ["factorize", "prune_channels"])
def test_repair_gains_on_a_real_model(name, shared_data, context):
    from edgewright.compression.fidelity import record_reference
    from edgewright.compression.samples import read_samples
    from edgewright.core.card import card_beside
    from edgewright.core.dataset import open_dataset
    from edgewright.engines.model import input_specs

    path = shared_data / "models" / "cifar10_resnet20.onnx"
    network = Network(normalized_model(path).model)
    read = {
        what: read_samples(
            open_dataset(shared_data / "arrays" / f"cifar10-{what}.npz", card_beside(path), input_specs(network.model)), network.model, limit
        )
        for what, limit in (("calibration", 128), ("evaluation", 256))
    }
    step = make_step(name, {"macs_ratio": 0.8})

    result = step.work.call(network, step.options, context(read["calibration"]))

    unseen = record_reference(network, read["evaluation"], context(None).engine, is_classifier=True)
    assert unseen.damage(result.model, context(None).engine) < unseen.damage(result.unrepaired, context(None).engine)
    # Plain SVD and Tucker-2 leave 44 % agreement here, magnitude pruning at 0.7 × 13 %: a quarter of that loss.
    assert unseen.agreement(result.model, context(None).engine) > 0.86
