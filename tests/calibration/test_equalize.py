"""Factors per channel: the function stays the same, codes are used better, clips are respected."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.channels import channel_map
from edgewright.calibration.equalize import MAX_FACTOR, RETURN_SAMPLES, channel_factors, equalized, return_level, watched_channels
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.observers import ChannelExtremes, Maxima
from edgewright.calibration.plan import plan_for_onnxruntime

RANDOM = np.random.default_rng(12)
SIZES = np.array([1.0, 0.5, 0.25, 0.125, 0.06, 0.03], np.float32)


def net(models, activation="Relu", bound=6.0):
    """Two convolutions with an activation function between, whose channels differ by a factor of thirty."""
    middle = models.node("Relu", ["a"], ["r"]) if activation == "Relu" else models.node("Clip", ["a", "zero", "bound"], ["r"])
    nodes = [models.node("Conv", ["x", "w", "b"], ["a"]), middle, models.node("Conv", ["r", "v"], ["y"])]
    weights = {
        "w": (RANDOM.normal(size=(6, 3, 1, 1)) * SIZES[:, None, None, None]).astype(np.float32),
        "b": (RANDOM.normal(size=6) * SIZES * 0.2).astype(np.float32),
        "v": RANDOM.normal(size=(4, 6, 1, 1)).astype(np.float32),
        "zero": np.float32(0),
        "bound": np.float32(bound),
    }
    return models.model(nodes, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4, 8, 8]}, weights)


@pytest.fixture
def run(models, tmp_path):
    def equalise(proto):
        graph = Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)
        plan, channels = plan_for_onnxruntime(graph), channel_map(graph)
        samples = RANDOM.normal(size=(20, 3, 8, 8)).astype(np.float32)
        watched = [name for name in watched_channels(plan) if name in channels.classes]
        probed = type(graph.model)()
        probed.CopyFrom(graph.model)
        present = {value.name for value in (*probed.graph.input, *probed.graph.output)}
        probed.graph.output.extend(models.onnx.helper.make_tensor_value_info(name, 1, None) for name in watched if name not in present)
        values = {"x": samples, **models.run(probed, {"x": samples})}
        statistics = {}
        for name in watched:
            extremes = ChannelExtremes()
            extremes.add(values[name])
            statistics[name] = extremes.statistics()
        factors = channel_factors(graph, plan, channels, statistics)
        return graph, equalized(graph, channels, factors), factors[channels.classes["r"]], values["r"], samples

    return equalise


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_the_function_stays_the_same(models, run, activation):
    graph, model, factors, _, samples = run(net(models, activation))

    assert not np.all(factors == 1)
    np.testing.assert_allclose(models.run(model, {"x": samples})["y"], models.run(graph.model, {"x": samples})["y"], rtol=1e-4, atol=1e-5)


def test_small_channels_grow_against_large_ones_within_the_bounds(models, run):
    _, _, factors, values, _ = run(net(models))

    reach = values.max(axis=(0, 2, 3))
    assert factors[reach.argmin()] > factors[reach.argmax()]
    assert factors.min() >= 1 / MAX_FACTOR
    assert factors.max() <= MAX_FACTOR


def test_under_a_clip_a_channel_grows_no_further_than_to_its_bound_and_one_that_is_cut_stays(models, run):
    _, _, factors, values, _ = run(net(models, "Clip", bound=1.0))

    reach = values.max(axis=(0, 2, 3))
    assert np.all(reach * factors <= 1.0 + 1e-5)
    assert np.all(factors[reach >= 1.0] == 1)


def test_the_return_level_is_gumbels():
    # Of Gumbel's distribution with location 2 and scale 0.5: mean and deviation by its moments, the level by its quantile function.
    mean, deviation = 2 + 0.5 * 0.5772156649, 0.5 * np.pi / np.sqrt(6)

    level = return_level(Maxima(np.array([3.0, 50.0]), np.full(2, mean), np.full(2, deviation)))

    assert level[0] == pytest.approx(2 - 0.5 * np.log(-np.log(1 - 1 / RETURN_SAMPLES)), rel=1e-4)
    assert level[1] == 50.0
