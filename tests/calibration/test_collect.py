"""What is observed of a stream of samples, held against numpy over all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.collect import Watch, observe
from edgewright.calibration.normalize import normalized_model
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.model import input_specs

WATCH = Watch(("input", "r1", "a3", "logits"), histograms=True, channels={"r1": 1, "f": -1})


@pytest.fixture
def watch(models, tmp_path):
    def run(proto, samples, watched=WATCH, *, batch=1, cancel=lambda: False, progress=lambda _share: None):
        path = models.save(proto, tmp_path / "m.onnx")
        np.savez(tmp_path / "samples.npz", input=samples)
        dataset = open_dataset(tmp_path / "samples.npz", ModelCard(), input_specs(proto))
        return observe(normalized_model(path).model, watched, dataset, threads=1, batch=batch, progress=progress, cancel=cancel)

    return run


def exact(models, samples, *names):
    proto = models.classifier()
    for name in names:
        if name != "logits":
            proto.graph.output.append(models.onnx.helper.make_tensor_value_info(name, 1, None))
    return models.run(proto, {"input": samples})


def assert_same(found, other):
    for name in WATCH.tensors:
        assert found.extremes[name].low == pytest.approx(other.extremes[name].low, rel=1e-5)
        assert found.extremes[name].high == pytest.approx(other.extremes[name].high, rel=1e-5)
        assert found.histograms[name].counts.sum() == other.histograms[name].counts.sum()
    for name in WATCH.channels:
        assert found.means[name].values == pytest.approx(other.means[name].values, rel=1e-5, abs=1e-6)


def test_extremes_counts_and_means_are_those_of_all_samples(models, watch):
    samples = models.samples(10)

    found = watch(models.classifier(), samples)

    values = {**exact(models, samples, "r1", "a3", "f", "logits"), "input": samples}
    for name in WATCH.tensors:
        assert (found.extremes[name].low, found.extremes[name].high) == pytest.approx((values[name].min(), values[name].max()), rel=1e-5)
        assert found.histograms[name].counts.sum() == values[name].size
    assert found.means["r1"].values == pytest.approx(values["r1"].mean((0, 2, 3)), rel=1e-4)
    assert found.means["f"].values == pytest.approx(values["f"].mean(0), rel=1e-4)
    assert found.samples == 10


@pytest.mark.parametrize("batch", [3, 10, 64])
def test_the_size_of_batches_does_not_matter(models, watch, batch):
    samples = models.samples(10)

    assert_same(watch(models.classifier(), samples, batch=batch), watch(models.classifier(), samples))


def test_a_prescribed_batch_counts_no_sample_twice(models, watch):
    samples = models.samples(10)

    assert_same(watch(models.classifier(batch=4), samples), watch(models.classifier(), samples))


def test_nothing_is_watched_that_was_not_asked_for(models, watch):
    found = watch(models.classifier(), models.samples(2), Watch(("r1",), histograms=False, channels={}))

    assert set(found.extremes) == {"r1"}
    assert found.histograms == {}
    assert found.means == {}


@pytest.mark.parametrize("histograms", [True, False])
def test_a_tensor_that_becomes_nan_is_named_with_its_sample(models, watch, histograms):
    nodes = [models.node("Log", ["input"], ["l"]), models.node("Gemm", ["l", "w"], ["y"])]
    proto = models.model(nodes, {"input": ["N", 3]}, {"y": None}, {"w": np.ones((3, 4), np.float32)})
    samples = np.ones((6, 3), np.float32)
    samples[4, 1] = -1

    with pytest.raises(Rejected) as caught:
        watch(proto, samples, Watch(("l",), histograms=histograms, channels={}))

    assert caught.value.code == "activation-not-finite"
    assert "'l'" in caught.value.message
    assert "sample 4" in caught.value.message


def test_an_operator_that_the_runtime_lacks_is_named(models, watch):
    proto = models.model([models.node("Frobnicate", ["input"], ["y"], domain="com.acme")], {"input": ["N", 3]}, {"y": None}, domains={"com.acme": 1})

    with pytest.raises(Rejected) as caught:
        watch(proto, np.ones((2, 3), np.float32), Watch(("input",), histograms=False, channels={}))

    assert caught.value.code == "operator-unsupported"


def test_stops_when_it_is_cancelled(models, watch):
    answers = iter([False, False, True])

    with pytest.raises(Unfit) as caught:
        watch(models.classifier(), models.samples(10), cancel=lambda: next(answers))

    assert caught.value.code == "cancelled"


def test_progress_goes_up_to_one(models, watch):
    shares = []

    watch(models.classifier(), models.samples(10), batch=4, progress=shares.append)

    assert shares == [0.4, 0.8, 1.0]
