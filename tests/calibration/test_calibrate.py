"""A calibration from file to file, on a small model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.repair import RepairOptions
from edgewright.calibration.table import load_table
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.digest import digest_of_file
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.model import input_specs


@pytest.fixture
def run(tmp_path):
    def start(model, samples, *, cancel=lambda: False, progress=lambda _share, _note: None, **options):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        dataset = open_dataset(samples, ModelCard(), input_specs(onnx.load(str(model))))
        return calibrate(
            model,
            dataset,
            out,
            CalibrationOptions(threads=1, repairs=RepairOptions(ends=False), **options),
            progress=progress,
            cancel=cancel,
        )

    return start


def sqnr_db(exact, found):
    return 10 * np.log10((exact.astype(np.float64) ** 2).sum() / ((exact.astype(np.float64) - found) ** 2).sum())


@pytest.mark.parametrize("method", ["auto", "percentile", "entropy", "mse", "minmax"])
@pytest.mark.parametrize("repair", [True, False])
def test_the_written_model_is_faithful_on_samples_it_never_saw(models, tiny_classifier, tiny_samples, run, method, repair):
    result = run(tiny_classifier, tiny_samples, method=method, repair=repair)

    unseen = models.samples(200, seed=99)
    exact = models.run(onnx.load(str(tiny_classifier)), {"input": unseen})["logits"]
    found = models.run(onnx.load(str(result.onnxruntime)), {"input": unseen})["logits"]
    assert sqnr_db(exact, found) > 25
    assert (exact.argmax(1) == found.argmax(1)).mean() > 0.95


def test_what_is_padded_between_convolutions_is_padded_as_codes(models, tmp_path, run):
    random = np.random.default_rng(4)
    nodes = [
        models.node("Conv", ["input", "w1"], ["c"], pads=[1, 1, 1, 1]), models.node("Relu", ["c"], ["r"]),
        models.node("Pad", ["r", "pads"], ["p"]), models.node("Conv", ["p", "w2"], ["y"], pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    weights = {
        "w1": random.normal(size=(4, 3, 3, 3)).astype(np.float32), "w2": random.normal(size=(4, 8, 3, 3)).astype(np.float32),
        "pads": np.array([0, 2, 0, 0, 0, 2, 0, 0], np.int64),
    }  # fmt: skip
    model = models.save(models.model(nodes, {"input": ["N", 3, 8, 8]}, {"y": None}, weights), tmp_path / "padded.onnx")
    np.savez(tmp_path / "s.npz", input=random.normal(size=(40, 3, 8, 8)).astype(np.float32))

    written = onnx.load(str(run(model, tmp_path / "s.npz").onnxruntime))

    producers = {name: node.op_type for node in written.graph.node for name in node.output}
    pad = next(node for node in written.graph.node if node.op_type == "Pad")
    assert producers[pad.input[0]] == "QuantizeLinear"


def test_says_what_it_did(tiny_classifier, tiny_samples, run):
    result = run(tiny_classifier, tiny_samples)

    assert result.method == "auto"
    assert result.images == 40
    assert result.quantized == 5
    assert result.skipped == ()
    assert result.seconds > 0
    table = load_table(result.table)
    assert table.model == digest_of_file(tiny_classifier)
    assert table.ranges["input"].samples == 40


def test_the_same_input_gives_the_same_bytes(tiny_classifier, tiny_samples, run):
    first = run(tiny_classifier, tiny_samples).onnxruntime.read_bytes()

    assert first == run(tiny_classifier, tiny_samples).onnxruntime.read_bytes()


def test_the_original_is_not_touched(tiny_classifier, tiny_samples, run):
    before = digest_of_file(tiny_classifier)

    run(tiny_classifier, tiny_samples)

    assert before == digest_of_file(tiny_classifier)


def test_few_samples_are_warned_of(models, tiny_classifier, tmp_path, run):
    result = run(tiny_classifier, models.save_samples(tmp_path / "few.npz", 3))

    assert any("only 3 samples" in warning for warning in result.warnings)


def test_tensors_that_never_change_are_warned_of(tiny_classifier, tmp_path, run):
    np.savez(tmp_path / "grey.npz", input=np.zeros((40, 3, 8, 8), np.float32))

    assert any("never changed" in warning for warning in run(tiny_classifier, tmp_path / "grey.npz").warnings)


def test_a_model_without_layers_has_nothing_to_quantise(models, tmp_path, run, tiny_samples):
    proto = models.model([models.node("Relu", ["input"], ["y"])], {"input": ["N", 3, 8, 8]}, {"y": None})

    with pytest.raises(Rejected) as caught:
        run(models.save(proto, tmp_path / "relu.onnx"), tiny_samples)

    assert caught.value.code == "nothing-to-quantise"


def test_an_unknown_method_is_refused_before_any_work(tiny_classifier, tiny_samples, run):
    with pytest.raises(Rejected) as caught:
        run(tiny_classifier, tiny_samples, method="guess")

    assert caught.value.code == "method-unknown"


def test_a_cancelled_calibration_writes_nothing(tiny_classifier, tiny_samples, run, tmp_path):
    with pytest.raises(Unfit) as caught:
        run(tiny_classifier, tiny_samples, cancel=lambda: True)

    assert caught.value.code == "cancelled"
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_goes_up_to_one(tiny_classifier, tiny_samples, run):
    shares = []

    run(tiny_classifier, tiny_samples, progress=lambda share, _note: shares.append(share))

    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0


def test_several_inputs_and_outputs(models, tmp_path, run):
    nodes = [
        models.node("Gemm", ["a", "w"], ["h"]),
        models.node("Gemm", ["b", "v"], ["g"]),
        models.node("Add", ["h", "g"], ["sum"]),
        models.node("Gemm", ["sum", "u"], ["y"]),
    ]
    random = np.random.default_rng(4)
    weights = {name: random.normal(size=(6, 6)).astype(np.float32) for name in "wvu"}
    proto = models.model(nodes, {"a": ["N", 6], "b": ["N", 6]}, {"sum": None, "y": None}, weights)
    feeds = {name: random.normal(size=(64, 6)).astype(np.float32) for name in "ab"}
    np.savez(tmp_path / "two.npz", **feeds)

    result = run(models.save(proto, tmp_path / "two.onnx"), tmp_path / "two.npz")

    exact, found = models.run(proto, feeds), models.run(onnx.load(str(result.onnxruntime)), feeds)
    assert result.quantized == 3
    assert {name: sqnr_db(exact[name], found[name]) > 25 for name in exact} == {"sum": True, "y": True}


def test_an_attention_block_is_quantised_but_for_the_products_of_two_activations(models, tmp_path, run):
    """Projections are layers; scores and the weighted sum multiply activations, and are told with that reason."""
    random = np.random.default_rng(8)
    nodes = [models.node("MatMul", ["x", name], [name[-1]]) for name in ("w_q", "w_k", "w_v")]
    nodes += [
        models.node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), models.node("MatMul", ["q", "kt"], ["scores"]),
        models.node("Softmax", ["scores"], ["p"]),
        models.node("MatMul", ["p", "v"], ["mixed"]), models.node("MatMul", ["mixed", "w_o"], ["o"]), models.node("Add", ["o", "x"], ["y"]),
    ]  # fmt: skip
    weights = {name: random.normal(0, 0.2, (16, 16)).astype(np.float32) for name in ("w_q", "w_k", "w_v", "w_o")}
    proto = models.model(nodes, {"x": ["N", 6, 16]}, {"y": ["N", 6, 16]}, weights)
    feeds = {"x": random.normal(size=(64, 6, 16)).astype(np.float32)}
    np.savez(tmp_path / "x.npz", **feeds)

    result = run(models.save(proto, tmp_path / "attention.onnx"), tmp_path / "x.npz")

    exact, found = models.run(proto, feeds)["y"], models.run(onnx.load(str(result.onnxruntime)), feeds)["y"]
    assert result.quantized == 4
    assert [(entry.node, entry.reason) for entry in result.skipped] == [(name, "it multiplies two activations") for name in ("scores", "mixed")]
    assert sqnr_db(exact, found) > 30
