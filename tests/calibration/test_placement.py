"""Which ends stay in float: by arithmetic, with time as a veto only."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration import placement
from edgewright.calibration.dialects import ONNXRUNTIME_X86
from edgewright.calibration.graph import Graph
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.placement import float_ends, multiplications
from edgewright.calibration.plan import plan_for_onnxruntime

FEEDS = {"input": np.zeros((1, 3, 8, 8), np.float32)}


@pytest.fixture
def graph(models, tmp_path):
    def build(proto):
        return Graph(normalized_model(models.save(proto, tmp_path / "m.onnx")).model)

    return build


@pytest.fixture
def measured(monkeypatch):
    """Stands in for the clock alone: the models are written and opened as ever."""

    def say(*ratios):
        asked = []
        monkeypatch.setattr(placement, "slowdowns", lambda *_: (asked.append(ratio) or ratio for ratio in ratios))
        return asked

    return say


def ends(graph):
    return float_ends(graph, plan_for_onnxruntime(graph), ONNXRUNTIME_X86, FEEDS)


def test_multiplications_are_weights_times_places(models, graph):
    plain = graph(models.classifier())

    work = multiplications(plain, plan_for_onnxruntime(plain))

    # 8 × 3 × 3 × 3 weights on 8 × 8 places; depthwise 8 × 3 × 3 and pointwise 8 × 8 on 4 × 4; a matrix of 8 × 4.
    assert work == {"c1": 216 * 64, "c2": 72 * 16, "c3": 64 * 16, "c4": 64 * 16, "logits": 32}


def test_an_end_with_much_of_the_work_is_quantised_whatever_the_time(models, graph, measured):
    measured(0.5)

    # Of 17,056 multiplications the first layer does 13,824 and the last 32.
    assert ends(graph(models.classifier())) == {"logits"}


def test_an_end_with_many_of_the_weights_is_quantised_however_few_its_multiplications(models, graph, measured):
    measured(1.0)
    nodes = [models.node("Conv", ["input", "w"], ["a"]), models.node("Relu", ["a"], ["b"]), models.node("Conv", ["b", "v"], ["c"], pads=[1, 1, 1, 1])]
    nodes += [models.node("GlobalAveragePool", ["c"], ["g"]), models.node("Flatten", ["g"], ["f"]), models.node("Gemm", ["f", "u"], ["y"])]
    random = np.random.default_rng(1)
    shapes = {"w": (32, 3, 1, 1), "v": (32, 32, 3, 3), "u": (32, 100)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}

    # The product does 3,200 of 600,000 multiplications, and has a quarter of the weights.
    assert ends(graph(models.model(nodes, {"input": ["N", 3, 8, 8]}, {"y": None}, weights))) == {"a"}


@pytest.mark.parametrize(("ratios", "stays"), [((1.0,), True), ((1.5, 1.5, 1.5, 1.5, 1.02), True), ((1.07,) * 5, False), ((3.0,) * 5, False)])
def test_time_is_a_veto_only_when_every_block_says_so(models, graph, measured, ratios, stays):
    measured(*ratios)

    assert (ends(graph(models.classifier())) == {"logits"}) == stays


def test_measuring_ends_with_the_first_block_that_is_no_veto(models, graph, measured):
    asked = measured(1.01, 9.0, 9.0)

    ends(graph(models.classifier()))

    assert asked == [1.01]


def test_the_first_layer_stays_in_float_where_it_does_little(models, graph, measured):
    measured(1.0)
    nodes = [models.node("Conv", ["input", "w"], ["a"]), models.node("Relu", ["a"], ["b"]), models.node("Conv", ["b", "v"], ["c"], pads=[1, 1, 1, 1])]
    nodes += [models.node("Relu", ["c"], ["y"])]
    random = np.random.default_rng(1)
    weights = {"w": random.normal(size=(32, 3, 1, 1)).astype(np.float32), "v": random.normal(size=(32, 32, 3, 3)).astype(np.float32)}

    assert ends(graph(models.model(nodes, {"input": ["N", 3, 8, 8]}, {"y": None}, weights))) == {"a"}


def test_a_network_of_one_layer_is_quantised(models, graph, measured):
    measured(1.0)
    proto = models.model([models.node("Gemm", ["input", "w"], ["y"])], {"input": ["N", 4]}, {"y": ["N", 4]}, {"w": np.eye(4, dtype=np.float32)})

    assert ends(graph(proto)) == frozenset()
