"""The repair as a whole: each part can be switched, and a network that cannot be walked through is left as it is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.repair import RepairOptions
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.engines.model import input_specs


@pytest.fixture
def run(tmp_path):
    def start(model, samples, **repairs):
        dataset = open_dataset(samples, ModelCard(), input_specs(onnx.load(str(model))))
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        options = CalibrationOptions(method="minmax", threads=1, repairs=RepairOptions(ends=False, **repairs))
        return calibrate(model, dataset, out, options, progress=lambda *_: None, cancel=lambda: False)

    return start


@pytest.mark.parametrize("part", ["equalize", "bias", "gain", "second_order"])
def test_each_part_can_be_switched_off(models, run, part, tmp_path):
    """Second-order rounding needs two batches of samples, and more columns than a tiny network has."""
    path = models.save(models.wide_classifier(), tmp_path / "wide" / "wide.onnx", models.ARRAY_CARD)
    samples = models.save_samples(tmp_path / "many.npz", 100)

    with_it, without = run(path, samples), run(path, samples, **{part: False})

    assert with_it.onnxruntime.read_bytes() != without.onnxruntime.read_bytes()


def test_the_same_samples_give_the_same_file(tiny_classifier, tiny_samples, run):
    assert run(tiny_classifier, tiny_samples).onnxruntime.read_bytes() == run(tiny_classifier, tiny_samples).onnxruntime.read_bytes()


def test_the_order_of_the_samples_does_not_change_what_is_written(tiny_classifier, tiny_samples, run, tmp_path):
    values = np.load(tiny_samples)["input"]
    np.savez(tmp_path / "shuffled.npz", input=values[::-1])

    shuffled = run(tiny_classifier, tmp_path / "shuffled.npz")

    assert shuffled.onnxruntime.read_bytes() == run(tiny_classifier, tiny_samples).onnxruntime.read_bytes()


def test_a_network_with_nested_graphs_is_quantised_without_repair_and_says_so(models, run, tmp_path):
    branch = [
        onnx.helper.make_graph(
            [models.node("Mul", ["h", name], [f"out_{name}"])], name, [], [onnx.helper.make_tensor_value_info(f"out_{name}", 1, None)]
        )
        for name in ("one", "two")
    ]
    nodes = [
        models.node("Gemm", ["x", "w"], ["g"]), models.node("Relu", ["g"], ["h"]),
        models.node("If", ["flag"], ["i"], then_branch=branch[0], else_branch=branch[1]), models.node("Gemm", ["i", "v"], ["y"]),
    ]  # fmt: skip
    random = np.random.default_rng(1)
    weights = {name: random.normal(size=(6, 6)).astype(np.float32) for name in "wv"}
    weights |= {"flag": np.asarray(True), "one": np.float32([1]), "two": np.float32([2])}
    path = models.save(models.model(nodes, {"x": ["N", 6]}, {"y": None}, weights), tmp_path / "if.onnx")
    np.savez(tmp_path / "x.npz", x=random.normal(size=(40, 6)).astype(np.float32))

    result = run(path, tmp_path / "x.npz")

    x = {"x": random.normal(size=(100, 6)).astype(np.float32)}
    exact, found = models.run(onnx.load(str(path)), x)["y"], models.run(onnx.load(str(result.onnxruntime)), x)["y"]
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25
    assert result.quantized >= 1
