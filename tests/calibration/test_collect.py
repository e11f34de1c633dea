"""What is observed of a stream of samples, held against numpy over all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration import collect
from edgewright.calibration.collect import Watch, has_moved, observe
from edgewright.calibration.keep import KeptSamples, sample_checksum
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.observers import HISTOGRAM_VALUES, Extremes
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.model import input_specs

TENSORS = ("input", "r1", "a3", "logits")


@pytest.fixture
def watch(models, tmp_path):
    def run(proto, samples, tensors=TENSORS, *, batch=1, cancel=lambda: False, progress=lambda _share: None, **how):
        path = models.save(proto, tmp_path / "m.onnx")
        np.savez(tmp_path / "samples.npz", input=samples)
        dataset = open_dataset(tmp_path / "samples.npz", ModelCard(), input_specs(proto))
        watched = Watch(tensors, how.pop("histograms", True), threads=1, batch=batch, **how)
        with KeptSamples(tmp_path, 64) as kept:
            return observe(normalized_model(path).model, watched, dataset, kept, progress=progress, cancel=cancel)

    return run


def exact(models, samples, *names):
    proto = models.classifier()
    for name in names:
        if name != "logits":
            proto.graph.output.append(models.onnx.helper.make_tensor_value_info(name, 1, None))
    return models.run(proto, {"input": samples})


def assert_same(found, other):
    for name in TENSORS:
        one, two = found.seen[name], other.seen[name]
        assert (one.extremes.low, one.extremes.high) == pytest.approx((two.extremes.low, two.extremes.high), rel=1e-5)
        assert one.histogram.counts.sum() == two.histogram.counts.sum()
        assert one.samples == two.samples


def test_extremes_and_counts_are_those_of_all_samples(models, watch):
    samples = models.samples(10)

    found = watch(models.classifier(), samples)

    values = {**exact(models, samples, "r1", "a3", "logits"), "input": samples}
    for name in TENSORS:
        seen = found.seen[name]
        assert (seen.extremes.low, seen.extremes.high) == pytest.approx((values[name].min(), values[name].max()), rel=1e-5)
        assert seen.histogram.counts.sum() == values[name].size
        assert seen.samples == 10
    assert found.samples == 10


@pytest.mark.parametrize("until_converged", [True, False])
def test_the_order_of_the_samples_does_not_matter(models, watch, until_converged):
    samples = models.samples(100)
    shuffled = samples[np.random.default_rng(8).permutation(100)]

    found, other = (watch(models.classifier(), part, until_converged=until_converged) for part in (samples, shuffled))

    for name in TENSORS:
        assert found.seen[name].extremes == other.seen[name].extremes
        assert np.array_equal(found.seen[name].histogram.counts, other.seen[name].histogram.counts)
        assert found.seen[name].samples == other.seen[name].samples


def test_a_tensor_that_has_converged_is_left_alone(models, watch, monkeypatch):
    samples = np.clip(models.samples(300), -1, 1)
    monkeypatch.setattr(collect, "MIN_VALUES", 3000)

    found = watch(models.classifier(), samples, until_converged=True)

    # The input's ends are cut at ±1, which the first rounds see already; logits are so few that all kept samples are looked at.
    assert found.seen["input"].samples == 16
    assert found.seen["logits"].samples == 64
    assert found.samples == 300


@pytest.mark.parametrize(("low", "high", "moved"), [(-1.0, 1.0, False), (-1.09, 1.0, False), (-1.2, 1.0, True), (-1.0, 1.2, True)])
def test_a_range_has_moved_when_an_end_moves_by_a_twentieth_of_its_width(low, high, moved):
    assert has_moved((-1.0, 1.0), Extremes(low, high)) == moved


@pytest.mark.parametrize("batch", [3, 10, 64])
def test_the_size_of_batches_does_not_matter(models, watch, batch):
    samples = models.samples(10)

    assert_same(watch(models.classifier(), samples, batch=batch), watch(models.classifier(), samples))


def test_a_prescribed_batch_counts_no_sample_twice(models, watch):
    samples = models.samples(10)

    assert_same(watch(models.classifier(batch=4), samples), watch(models.classifier(), samples))


def test_nothing_is_watched_that_was_not_asked_for(models, watch):
    found = watch(models.classifier(), models.samples(2), ("r1",), histograms=False)

    assert set(found.seen) == {"r1"}
    assert found.seen["r1"].histogram is None


@pytest.mark.parametrize("histograms", [True, False])
def test_a_tensor_that_becomes_nan_is_named_with_its_sample(models, watch, histograms):
    nodes = [models.node("Log", ["input"], ["l"]), models.node("Gemm", ["l", "w"], ["y"])]
    proto = models.model(nodes, {"input": ["N", 3]}, {"y": None}, {"w": np.ones((3, 4), np.float32)})
    samples = np.ones((6, 3), np.float32)
    samples[4, 1] = -1

    with pytest.raises(Rejected) as caught:
        watch(proto, samples, ("l",), histograms=histograms)

    assert caught.value.code == "activation-not-finite"
    assert "'l'" in caught.value.message
    assert "sample 4" in caught.value.message


def test_an_operator_that_the_runtime_lacks_is_named(models, watch):
    proto = models.model([models.node("Frobnicate", ["input"], ["y"], domain="com.acme")], {"input": ["N", 3]}, {"y": None}, domains={"com.acme": 1})

    with pytest.raises(Rejected) as caught:
        watch(proto, np.ones((2, 3), np.float32), ("input",), histograms=False)

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


def test_a_sample_that_no_tensor_is_observed_on_is_still_held_against_nan(models, watch):
    """`auto` observes the kept samples; the others pass through the model too."""
    nodes = [models.node("Log", ["input"], ["l"]), models.node("Gemm", ["l", "w"], ["y"])]
    proto = models.model(nodes, {"input": ["N", 3]}, {"y": None}, {"w": np.ones((3, 4), np.float32)})
    samples = np.random.default_rng(3).uniform(1, 2, (100, 3)).astype(np.float32)
    checksums = [sample_checksum({"input": sample[None]}) for sample in samples]
    largest = int(np.argmax(checksums))
    for factor in np.linspace(1, 2, 200):
        changed = samples[largest] * np.float32([-factor, 1, 1])
        if sample_checksum({"input": changed[None]}) > sorted(checksums)[80]:
            samples[largest] = changed
            break

    with pytest.raises(Rejected) as caught:
        watch(proto, samples, ("l",), until_converged=True)

    assert (caught.value.code, "'y'" in caught.value.message) == ("activation-not-finite", True)
    assert f"sample {largest}" in caught.value.message


def test_of_large_maps_extremes_are_exact_and_histograms_bounded(models, watch):
    nodes = [models.node("Conv", ["input", "w"], ["c"]), models.node("Relu", ["c"], ["r"]), models.node("GlobalAveragePool", ["r"], ["y"])]
    weight = np.random.default_rng(1).normal(size=(16, 3, 1, 1)).astype(np.float32)
    proto = models.model(nodes, {"input": ["N", 3, 48, 48]}, {"y": None}, {"w": weight})
    samples = models.samples(5, shape=(3, 48, 48))

    found = watch(proto, samples, ("c", "r"))

    raw = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], samples)
    assert (found.seen["c"].extremes.low, found.seen["c"].extremes.high) == pytest.approx((raw.min(), raw.max()), rel=1e-5)
    assert found.seen["r"].extremes.high == pytest.approx(raw.max(), rel=1e-5)
    assert found.seen["r"].extremes.low >= 0
    for name in ("c", "r"):
        assert 1000 < found.seen[name].histogram.counts.sum() / 5 <= HISTOGRAM_VALUES
    # Half of the values are cut to zero, in the part as in the whole.
    assert found.seen["r"].histogram.counts[0] / found.seen["r"].histogram.counts.sum() == pytest.approx((raw <= 0).mean(), abs=0.03)
