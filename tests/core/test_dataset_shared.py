"""Datasets of the real world: every shared model is fed from its shared data, and classifies as its README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgewright.core.card import card_beside, check_card
from edgewright.core.dataset import open_dataset
from edgewright.core.tensors import TensorSpec

# model, dataset, samples, input, type, shape, output of the classifier, top-1 by the README of the data within a few points on 100 samples
CASES = [
    ("mobilenet_v2", "imagenet500", 500, "input", "float32", (None, 3, 224, 224), "logits", 0.88),
    ("squeezenet1.1", "imagenet500", 500, "input", "float32", (None, 3, 224, 224), "logits", 0.62),
    ("squeezenet1.1_fp16_opset7", "imagenet500", 500, "data_0", "float16", (1, 3, 224, 224), "softmaxout_1", 0.61),
    ("ultraface_rfb320_opset9", "imagenet-calibration", 256, "input", "float32", (1, 3, 240, 320), None, None),
    ("cifar10_resnet20", "arrays/cifar10-evaluation.npz", 2500, "input", "float32", (None, 3, 32, 32), "logits", 0.81),
    ("kws_dscnn", "arrays/kws-evaluation.npz", 800, "input", "float32", (None, 1, 49, 10), "logits", 0.90),
    ("mnist_opset8", "arrays/mnist-evaluation.npz", 2000, "Input3", "float32", (1, 1, 28, 28), "Plus214_Output_0", 0.989),
]
SAMPLES = 100


@pytest.mark.parametrize(("model", "data", "samples", "name", "dtype", "shape", "output", "top1"), CASES, ids=[case[0] for case in CASES])
def test_a_shared_model_gets_what_it_expects(
    shared_data: Path,
    model: str,
    data: str,
    samples: int,
    name: str,
    dtype: str,
    shape: tuple[int | None, ...],
    output: str | None,
    top1: float | None,
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = shared_data / "models" / f"{model}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    spec = TensorSpec(name, dtype, shape)
    card = card_beside(path)
    check_card(card, [spec], [TensorSpec(item.name, "float32", ()) for item in session.get_outputs()])

    dataset = open_dataset(shared_data / data, card, [spec])

    assert dataset.samples == samples
    hits = seen = 0
    # A stride through the whole set would decode all of it; the sets are sorted by class, so take its first samples in small batches.
    for batch in dataset.batches(1 if shape[0] == 1 else 10, stop=SAMPLES):
        assert batch.feeds[name].dtype == dtype
        assert batch.feeds[name].shape[1:] == shape[1:]
        outputs = session.run([output] if output else None, batch.feeds)
        seen += batch.size
        if batch.labels is not None:
            hits += int((np.asarray(outputs[0]).reshape(batch.size, -1).argmax(1) == batch.labels).sum())
    assert seen == SAMPLES
    if top1 is not None:
        assert abs(hits / SAMPLES - top1) < 0.15
    else:
        assert dataset.labels is None
