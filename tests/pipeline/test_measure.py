from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.tensors import TensorSpec
from edgewright.engines.base import BuildOptions
from edgewright.pipeline.logits import with_logits
from edgewright.pipeline.measure import EngineUnderTest, first_feeds, measure_fidelity, measure_timing, zeros_for
from edgewright.pipeline.subject import open_subject


def under_test(path):
    return EngineUnderTest("onnxruntime", path, BuildOptions())


@pytest.fixture
def compare(models, tmp_path):
    """Fidelity of a classifier whose last layer is a little off, against the right one."""

    def run(samples, *, cancel=lambda: False, labels=None, **options):
        right = models.classifier(**options)
        wrong = onnx.ModelProto()
        wrong.CopyFrom(right)
        tensor = next(tensor for tensor in wrong.graph.initializer if tensor.name == "w5")
        noise = np.random.default_rng(0).normal(0, 0.1, (8, 4)).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + noise, "w5"))
        paths = {
            "fp32": models.save(right, tmp_path / "right.onnx", models.ARRAY_CARD),
            "other": models.save(wrong, tmp_path / "wrong.onnx"),
        }
        subject = open_subject(paths["fp32"])
        path = models.save_samples(tmp_path / "data.npz", samples, labels=labels)
        with with_logits(subject, {name: under_test(path) for name, path in paths.items()}, tmp_path) as engines:
            found = measure_fidelity(
                subject, "fp32", engines, subject.dataset(path), "evaluation", progress=lambda _share, _note: None, cancel=cancel
            )
        feeds = {"input": models.samples(samples)}
        return found, {name: models.run(onnx.load(str(path)), feeds)["logits"] for name, path in paths.items() if not options.get("batch")}

    return run


def test_fidelity_is_that_of_all_samples(compare):
    labels = np.arange(25) % 4

    found, outputs = compare(25, labels=labels)

    exact, other = outputs["fp32"], outputs["other"]
    assert found["other"].top1_fp32 == (exact.argmax(1) == labels).mean()
    assert found["other"].top1 == (other.argmax(1) == labels).mean()
    assert found["other"].agreement == (exact.argmax(1) == other.argmax(1)).mean()
    assert found["other"].sqnr_db == pytest.approx(10 * np.log10((exact**2).sum() / ((exact - other) ** 2).sum()), abs=0.01)
    assert found["fp32"].sqnr_db == 200.0


def test_a_prescribed_batch_counts_every_sample_once(compare):
    free, _ = compare(10)
    fixed, _ = compare(10, batch=4)

    assert fixed["other"].samples == 10
    assert fixed["other"].sqnr_db == pytest.approx(free["other"].sqnr_db, abs=0.01)


def test_fewer_samples_than_the_prescribed_batch_are_enough(compare):
    found, _ = compare(3, batch=8)

    assert found["other"].samples == 3
    assert found["fp32"].agreement == 1.0


def test_logits_are_compared_where_the_model_ends_in_a_softmax(compare):
    plain, _ = compare(20)
    through, _ = compare(20, softmax=True)

    assert through["other"].sqnr_db == pytest.approx(plain["other"].sqnr_db, abs=0.01)


def test_the_twins_without_softmax_go_away(compare, tmp_path):
    compare(2, softmax=True)

    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_labels_that_the_model_has_no_class_for_are_refused(compare):
    with pytest.raises(Rejected) as caught:
        compare(5, labels=np.arange(5))

    assert caught.value.code == "dataset-wrong-labels"


def test_a_comparison_can_be_cancelled(compare):
    with pytest.raises(Unfit) as caught:
        compare(5, cancel=lambda: True)

    assert caught.value.code == "cancelled"


def test_timing_carries_its_conditions(models, tiny_classifier):
    feeds = {"input": models.samples(2)}

    found = measure_timing({"a": under_test(tiny_classifier), "b": under_test(tiny_classifier)}, {"a": feeds, "b": None}, seconds=0.05, batch=2)

    assert set(found) == {"a", "b"}
    for timing in found.values():
        assert timing.latency_ms.samples >= 100
        assert 0 < timing.latency_ms.min <= timing.latency_ms.p50 <= timing.latency_ms.p99 <= timing.latency_ms.max
        assert (timing.energy_mj is None) is bool(timing.energy_reason)
        assert (timing.conditions.batch, timing.conditions.threads) == (2, 1)
        assert timing.conditions.provider == "CPUExecutionProvider"


def test_zeros_take_the_batch_and_the_cards_shapes():
    specs = (TensorSpec("a", "float32", (None, 3)), TensorSpec("b", "int64", (2, None)))

    feeds = zeros_for(specs, 4, {"b": (2, 7)})

    assert {name: (values.shape, values.dtype.name) for name, values in feeds.items()} == {"a": ((4, 3), "float32"), "b": ((2, 7), "int64")}


def test_a_free_axis_that_nothing_names_is_said():
    with pytest.raises(Unfit) as caught:
        zeros_for((TensorSpec("a", "float32", (None, 3, None)),), 1)

    assert caught.value.code == "shapes-unknown"
    assert "?x3x?" in caught.value.message


def test_the_last_sample_fills_the_first_batch(tiny_classifier, tiny_samples):
    dataset = open_subject(tiny_classifier).dataset(tiny_samples)

    feeds = first_feeds(dataset, 50)

    assert feeds["input"].shape[0] == 50
    assert np.array_equal(feeds["input"][39], feeds["input"][49])
