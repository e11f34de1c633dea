"""Real models and real samples, where they are: what is written must stay near FP32. Few samples, so that it stays short."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.engines.base import BuildOptions
from edgewright.engines.model import input_specs, read_model
from edgewright.pipeline.logits import with_logits
from edgewright.pipeline.measure import EngineUnderTest, measure_fidelity
from edgewright.pipeline.optimize import optimize
from edgewright.pipeline.request import OptimizeRequest
from edgewright.pipeline.subject import open_subject

# model → calibration samples, evaluation samples, least SQNR in dB. Measured with all samples: 35.2, 23.1, 29.5, 32.5, 38.4, 32.7 dB.
CLASSIFIERS = {
    "squeezenet1.1": ("imagenet-calibration", "imagenet500", 32, 200, 32),
    "mobilenet_v2": ("imagenet-calibration", "imagenet500", 32, 200, 22),
    "cifar10_resnet20": ("arrays/cifar10-calibration.npz", "arrays/cifar10-evaluation.npz", 200, 1000, 26),
    "kws_dscnn": ("arrays/kws-calibration.npz", "arrays/kws-evaluation.npz", 200, 800, 29),
    "mnist_opset8": ("arrays/mnist-calibration.npz", "arrays/mnist-evaluation.npz", 200, 1000, 34),
    "squeezenet1.1_fp16_opset7": ("imagenet-calibration", "imagenet500", 32, 100, 29),
}


class Part:
    """The first samples of a dataset."""

    def __init__(self, dataset, samples):
        self._dataset = dataset
        self.samples = min(samples, dataset.samples)

    def batches(self, size):
        return self._dataset.batches(size, stop=self.samples)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_real_classifier_keeps_its_accuracy(shared_data, tmp_path, name):
    calibration, evaluation, seen, compared, least_db = CLASSIFIERS[name]
    subject = open_subject(shared_data / "models" / f"{name}.onnx")

    result = calibrate(
        subject.path,
        Part(subject.dataset(shared_data / calibration), seen),
        tmp_path,
        CalibrationOptions(),
        progress=lambda _share, _note: None,
        cancel=lambda: False,
    )

    files = {"fp32": subject.path, "int8": result.onnxruntime}
    with with_logits(subject, {key: EngineUnderTest("onnxruntime", path, BuildOptions()) for key, path in files.items()}, tmp_path) as engines:
        fidelity = measure_fidelity(
            subject,
            "fp32",
            engines,
            Part(subject.dataset(shared_data / evaluation), compared),
            "evaluation",
            progress=lambda _share, _note: None,
            cancel=lambda: False,
        )["int8"]
    assert fidelity.top1 >= fidelity.top1_fp32 - 0.02
    assert fidelity.agreement >= 0.94
    assert fidelity.sqnr_db >= least_db
    assert result.onnxruntime.stat().st_size < 0.6 * subject.path.stat().st_size


def test_the_written_file_is_a_model_that_onnxruntime_alone_can_run(shared_data, tmp_path):
    path = shared_data / "models" / "kws_dscnn.onnx"
    card, specs = card_beside(path), input_specs(read_model(path))
    data = open_dataset(shared_data / "arrays" / "kws-calibration.npz", card, specs)
    result = calibrate(path, data, tmp_path, CalibrationOptions(), progress=lambda *_: None, cancel=lambda: False)

    with np.load(shared_data / "arrays" / "kws-evaluation.npz") as evaluation:
        samples, labels = evaluation["input"], evaluation["labels"]
    sessions = [onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]) for file in (path, result.onnxruntime)]
    exact, found = ((session.run(None, {"input": samples})[0].argmax(1) == labels).mean() for session in sessions)

    assert found >= exact - 0.02


def test_a_detector_goes_through_the_whole_pipeline(shared_data, tmp_path):
    pictures = tmp_path / "pictures" / "images"
    pictures.mkdir(parents=True)
    for source in sorted((shared_data / "imagenet-calibration" / "images").iterdir())[:24]:
        (pictures / source.name).symlink_to(source)
    (tmp_path / "out").mkdir()

    result = optimize(
        OptimizeRequest(
            model=str(shared_data / "models" / "ultraface_rfb320_opset9.onnx"),
            calibration=str(pictures.parent),
            evaluation=None,
            out=str(tmp_path / "out"),
            bench_seconds=0.1,
            recipe="int8",
        ),
        progress=lambda _share, _note: None,
        cancel=lambda: False,
    )

    assert result.verdict == "accepted"
    int8 = result.candidates[1]
    assert (int8.fidelity.top1, int8.fidelity.agreement) == (None, None)
    assert set(int8.fidelity.outputs) == {"scores", "boxes"}
    assert int8.fidelity.sqnr_db > 25
    assert json.loads((Path(int8.path).parent / "manifest.json").read_text())["candidate"]["name"] == "int8"
