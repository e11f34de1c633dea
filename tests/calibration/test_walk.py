"""The walk: weights and biases chosen for what the layers before really hand on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edgewright.calibration.dialects import ONNXRUNTIME_X86
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.plan import plan_for_onnxruntime
from edgewright.calibration.spool import Spool
from edgewright.calibration.step import Codes
from edgewright.calibration.table import Range, RangeTable
from edgewright.calibration.walk import Walk, WalkOptions, not_repairable, quantized, real_rows
from edgewright.calibration.writer import QdqWriter, WeightCodes
from edgewright.core.errors import Unfit

# Four bits for weights: their rounding, which the walk repairs, outweighs that of activations, which it does not.
COARSE = replace(ONNXRUNTIME_X86, weight_max=7)
ALL = WalkOptions(threads=1)
NONE = WalkOptions(second_order=False, gain=False, bias=False, threads=1)


@pytest.fixture
def graph(models, tmp_path):
    return Graph(normalized_model(models.save(models.classifier(), tmp_path / "m.onnx")).model)


@pytest.fixture
def table(models, graph):
    """The ranges that the samples of the walk show."""
    plan = plan_for_onnxruntime(graph)
    proto = models.classifier()
    present = {"input", "logits"}
    proto.graph.output.extend(models.onnx.helper.make_tensor_value_info(name, 1, None) for name in plan.observed if name not in present)
    values = {"input": models.samples(64), **models.run(proto, {"input": models.samples(64)})}
    return RangeTable(model="", ranges={n: Range(min(0.0, float(values[n].min())), float(values[n].max()), "minmax", 64) for n in plan.observed})


@pytest.fixture
def walk(models, graph, table, tmp_path):
    def run(options, *, cancel=lambda: False, progress=lambda _: None):
        with Spool(tmp_path) as samples:
            for batch in np.split(models.samples(64), 4):
                samples.add("input", batch)
            plan = plan_for_onnxruntime(graph)
            return Walk(graph, plan, table, COARSE, samples, 4, tmp_path, options, progress, cancel).weights()

    return run


@pytest.fixture
def noise_db(models, graph, table):
    def measure(weights):
        written = QdqWriter(graph, plan_for_onnxruntime(graph), table, COARSE, weights).write()
        x = {"input": models.samples(200, seed=77)}
        exact, found = models.run(graph.model, x)["logits"].astype(np.float64), models.run(written, x)["logits"]
        return 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())

    return measure


def test_every_layer_gets_weights_of_its_own_shape(graph, walk):
    found = walk(ALL)

    assert set(found) == {layer.node for layer in plan_for_onnxruntime(graph).layers}
    for layer in plan_for_onnxruntime(graph).layers:
        assert found[layer.node].codes.shape == graph.constant(layer.weight).shape
        assert len(found[layer.node].scales) == graph.constant(layer.weight).shape[layer.axis]


def test_without_any_correction_codes_are_those_of_the_nearest_weights(graph, walk):
    found = walk(NONE)

    for layer in plan_for_onnxruntime(graph).layers:
        weight = graph.constant(layer.weight)
        half_steps = found[layer.node].scales.max() / 2 * 1.001
        moved = np.moveaxis(weight, layer.axis, 0).reshape(weight.shape[layer.axis], -1)
        real = np.moveaxis(real_rows(found[layer.node], layer.axis), layer.axis, 0).reshape(moved.shape)
        assert np.abs(real - moved).max() <= half_steps


def test_a_repaired_network_is_more_faithful_on_samples_it_never_saw(walk, noise_db):
    assert noise_db(walk(ALL)) > noise_db(walk(NONE)) + 0.5


def test_each_correction_pays_for_itself(walk, noise_db):
    plain = noise_db(walk(NONE))

    assert noise_db(walk(WalkOptions(second_order=False, gain=False, bias=True, threads=1))) > plain


def test_progress_goes_up_to_one_and_cancel_is_heard(walk):
    shares = []
    walk(NONE, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    with pytest.raises(Unfit) as caught:
        walk(NONE, cancel=lambda: True)
    assert caught.value.code == "cancelled"


def test_quantizing_is_onnxs(models):
    x = np.float32([-1.0, 0.05, 0.15, 0.25, 99.0])
    nodes = [models.node("QuantizeLinear", ["x", "s", "z"], ["q"]), models.node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    scale, zero = np.float32(0.1), np.uint8(3)
    proto = models.model(nodes, {"x": [5]}, {"y": [5]}, {"s": scale, "z": zero})

    codes = quantized(x, Codes(scale, np.asarray(zero)))

    np.testing.assert_allclose((codes.astype(np.float32) - 3) * scale, models.run(proto, {"x": x})["y"])


def test_real_rows_multiply_each_channel_by_its_scale():
    weights = WeightCodes(np.int8([[1, 2], [3, 4]]), np.float32([10, 100]), None)

    assert real_rows(weights, 0).tolist() == [[10, 20], [300, 400]]
    assert real_rows(weights, 1).tolist() == [[10, 200], [30, 400]]


def test_a_cancelled_run_is_not_a_network_that_cannot_be_repaired():
    assert not_repairable(Unfit("walk-impossible", "", ""))
    assert not not_repairable(Unfit("cancelled", "", ""))
    assert not not_repairable(ValueError())
