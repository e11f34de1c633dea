"""The models that compression is measured on, each with what it is fitted to and what it is judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgewright.calibration.normalize import normalized_model
from edgewright.cli.demo import surface
from edgewright.compression.activations import Engine, stream
from edgewright.compression.base import Context
from edgewright.compression.fidelity import logit_tensors
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.samples import Samples, read_samples
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.card import card_beside
from edgewright.core.dataset import open_dataset
from edgewright.engines.model import input_specs

# Ships with the program; its pictures are drawn here.
DEMO = "surface_classifier"
SETS = {
    "squeezenet1.1": ("imagenet-calibration", "imagenet500"),
    "mobilenet_v2": ("imagenet-calibration", "imagenet500"),
    "cifar10_resnet20": ("arrays/cifar10-calibration.npz", "arrays/cifar10-evaluation.npz"),
    "kws_dscnn": ("arrays/kws-calibration.npz", "arrays/kws-evaluation.npz"),
    DEMO: ("", ""),
}
# Models that only the passes are tried on.
FURTHER = {
    "mnist_opset8": ("arrays/mnist-calibration.npz", "arrays/mnist-evaluation.npz"),
    "squeezenet1.1_fp16_opset7": ("imagenet-calibration", "imagenet500"),
    "ultraface_rfb320_opset9": ("imagenet-calibration", "imagenet500"),
}
EVALUATED = 2500


def context(samples: Samples | None, *, repair: bool, timed: bool = False) -> Context:
    return Context(samples, Engine(), is_classifier=True, repair=repair, stopwatch=RuntimeStopwatch() if timed else None, progress=lambda *_: None)


@dataclass(frozen=True)
class Subject:
    """A model with its samples; the original's logits on the evaluation set are recorded once."""

    name: str
    path: Path
    samples: Path
    network: Network
    calibration: Samples
    evaluation: Samples
    labels: np.ndarray
    logits: np.ndarray

    def fidelity(self, model: Any) -> dict[str, float]:
        own, other = self.logits, logits_of(model, self.evaluation)
        labels = self.labels[: len(own)]
        return {
            "agreement": float((own.argmax(1) == other.argmax(1)).mean()),
            "top1": float((other.argmax(1) == labels).mean()),
            "top1_fp32": float((own.argmax(1) == labels).mean()),
            "sqnr_db": 10 * math.log10(float(np.square(own).sum()) / max(float(np.square(own - other).sum()), 1e-30)),
        }


def logits_of(model: Any, samples: Samples) -> np.ndarray:
    name = logit_tensors(model)[0]
    parts = [values[name][: batch.count] for batch, values in zip(samples.batches, stream(model, [name], samples, Engine()), strict=True)]
    return np.concatenate(parts).reshape(samples.count, -1).astype(np.float64)


def files_of(name: str, data: Path, folder: Path) -> tuple[Path, list[Path]]:
    """The model, its calibration and its evaluation set."""
    if name == DEMO:
        return Path(surface.__file__).with_name(f"{DEMO}.onnx"), drawn(folder)
    return data / "models" / f"{name}.onnx", [data / entry for entry in (SETS | FURTHER)[name]]


def load(name: str, data: Path, folder: Path) -> Subject:
    path, sets = files_of(name, data, folder)
    fold = make_step("fold", {})
    network = Network(normalized_model(path).model)
    network = Network(fold.work.call(network, fold.options, context(None, repair=False)).model)
    specs, card = input_specs(network.model), card_beside(path)
    calibration = read_samples(open_dataset(sets[0], card, specs), network.model)
    evaluation_set = open_dataset(sets[1], card, specs)
    evaluation = read_samples(evaluation_set, network.model, EVALUATED)
    assert evaluation_set.labels is not None
    return Subject(name, path, sets[0], network, calibration, evaluation, evaluation_set.labels, logits_of(network.model, evaluation))


def drawn(folder: Path) -> list[Path]:
    """The demo's pictures: 256 to calibrate on, 1,000 others to evaluate on."""
    paths = [folder / "calibration.npz", folder / "evaluation.npz"]
    for path, count, seed in zip(paths, (256, 1000), (11, 12), strict=True):
        surface.write_dataset(path, count, seed)
    return paths
