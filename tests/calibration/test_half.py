"""Half precision from file to file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.half import write_half
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected, Unfit
from edgewright.engines.model import input_specs


@pytest.fixture
def halve(tmp_path):
    def run(model, samples, **options):
        dataset = None if samples is None else open_dataset(samples, ModelCard(), input_specs(onnx.load(str(model))))
        out = tmp_path / "half"
        out.mkdir()
        return write_half(model, dataset, out, threads=1, **options)

    return run


def test_the_written_file_is_half_as_large_and_faithful_on_samples_it_never_saw(models, halve, tiny_classifier, tiny_samples):
    result = halve(tiny_classifier, tiny_samples)

    unseen = models.samples(100, seed=9)
    exact = models.run(onnx.load(str(tiny_classifier)), {"input": unseen})["logits"]
    found = models.run(onnx.load(str(result.path)), {"input": unseen})["logits"]
    noise_db = 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())
    assert noise_db > 50
    assert result.sqnr_db == pytest.approx(noise_db, abs=6)
    assert result.samples == 40
    assert [path.name for path in result.path.parent.iterdir()] == ["model.fp16.onnx"]


def test_what_would_overflow_is_seen_on_the_samples(models, halve, tmp_path):
    nodes = [models.node("Mul", ["x", "k"], ["a"]), models.node("Mul", ["a", "h"], ["y"])]
    path = models.save(models.model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, {"k": np.float32(6e4), "h": np.float32(1e-3)}), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.float32([[1, 2, 3], [-4, 1, 1]]))

    seen = halve(path, tmp_path / "x.npz")

    assert [entry.node for entry in seen.kept] == ["a", "y"]
    assert seen.sqnr_db > 50


def test_without_samples_it_says_what_is_not_known(halve, tiny_classifier):
    result = halve(tiny_classifier, None)

    assert result.sqnr_db is None
    assert result.warnings == ("no samples: whether activations overflow is not known",)
    assert result.path.is_file()


def test_an_activation_that_is_not_finite_is_refused_and_nothing_is_written(models, halve, tmp_path):
    path = models.save(models.model([models.node("Log", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.float32([[1, 2, 3], [0, 1, 1]]))

    with pytest.raises(Rejected) as caught:
        halve(path, tmp_path / "x.npz")

    assert caught.value.code == "activation-not-finite"
    assert list((tmp_path / "half").iterdir()) == []


def test_is_cancelled_between_samples(halve, tiny_classifier, tiny_samples, tmp_path):
    with pytest.raises(Unfit) as caught:
        halve(tiny_classifier, tiny_samples, cancel=lambda: True)

    assert caught.value.code == "cancelled"
    assert list((tmp_path / "half").iterdir()) == []
