"""Teachers, data to learn from and samples to judge on, for the benchmark of distillation."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgewright.cli.demo.surface import surfaces
from edgewright.core.card import card_from_toml
from edgewright.core.dataset import open_dataset
from edgewright.distillation.request import DistillOptions
from edgewright.distillation.school import School, open_school
from edgewright.engines.model import input_specs, read_model
from edgewright.engines.ort.runner import open_on_cpu

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("EDGEWRIGHT_DATA") or ROOT.parent / "shared" / "data")
SEEDS = (0, 1, 2)
JUDGED = 2000


@dataclass(frozen=True)
class Task:
    """A teacher, the data to learn from, and the samples that students are judged on. `ways` empty = all losses of a part."""

    teacher: Path
    data: Path
    inputs: np.ndarray
    labels: np.ndarray
    student: str
    hand_picked: tuple[str, ...]
    epochs: int
    seeds: tuple[int, ...] = SEEDS
    ways: tuple[str, ...] = ()


def cifar10(work: Path, learned: int) -> Task:
    """The first of the shared CIFAR-10 images to learn from, all others (2,000 of 3,000) to judge on."""
    first, second = (np.load(DATA / "arrays" / f"cifar10-{name}.npz") for name in ("calibration", "evaluation"))
    images = np.concatenate([first["input"], second["input"]])
    labels = np.concatenate([first["labels"], second["labels"]])
    teacher = copied(DATA / "models" / "cifar10_resnet20.onnx", work)
    hand_picked = ("shrink:2,plain:16,plain:32/2,plain:64/2", "plain:8,separable:24x2/2,separable:48x2/2", "plain:8,residual:8/2,residual:16/2")
    return task(work, teacher, images, labels, learned, hand_picked[0], hand_picked, epochs=40)


def surface(work: Path, learned: int) -> Task:
    """Generated pictures of surfaces to learn from, 2,000 others to judge on."""
    images, labels = surfaces(learned + JUDGED, 4711)
    teacher = copied(ROOT / "cli" / "demo" / "surface_classifier.onnx", work)
    hand_picked = (
        "shrink:3,plain:16/2,plain:32/2,plain:64/2",
        "plain:8/2,separable:16x2/2,separable:32x2/2,separable:64/2",
        "shrink:2,plain:8/2,residual:16/2,residual:32/2",
    )
    return task(work, teacher, images, labels, learned, hand_picked[0], hand_picked, epochs=40)


SUBJECTS = {"cifar10": cifar10, "surface": surface}


def task(
    work: Path, teacher: Path, images: np.ndarray, labels: np.ndarray, learned: int, student: str, hand_picked: tuple[str, ...], epochs: int
) -> Task:
    data = work / "learn.npz"
    np.savez(data, input=images[:learned], labels=labels[:learned])
    judged = work / "judge.npz"
    np.savez(judged, input=images[learned:], labels=labels[learned:])
    model = read_model(teacher)
    opened = open_dataset(judged, card_from_toml(teacher.with_suffix(".toml")), input_specs(model))
    inputs = np.concatenate([batch.feeds["input"] for batch in opened.batches(250)])
    return Task(teacher, data, inputs, labels[learned : learned + len(inputs)], student, hand_picked, epochs)


def copied(model: Path, work: Path) -> Path:
    target = work / model.name
    target.write_bytes(model.read_bytes())
    target.with_suffix(".toml").write_bytes(model.with_suffix(".toml").read_bytes())
    return target


def opened(found: Task, **options: object) -> AbstractContextManager[School]:
    card = card_from_toml(found.teacher.with_suffix(".toml"))
    specs = input_specs(read_model(found.teacher))
    return open_school(found.teacher, card, lambda: open_dataset(found.data, card, specs), DistillOptions(**options))


def outputs(model: object, inputs: np.ndarray) -> np.ndarray:
    with open_on_cpu(model.SerializeToString(), "a model", threads=1) as runner:
        name = runner.inputs[0].name
        return np.concatenate([next(iter(runner.infer({name: inputs[i : i + 100]}).values())) for i in range(0, len(inputs), 100)])


def judged(model: object, found: Task, teacher: object) -> dict[str, float]:
    own, aim = outputs(model, found.inputs), outputs(teacher, found.inputs)
    return {"top1": float((own.argmax(1) == found.labels).mean()), "agreement": float((own.argmax(1) == aim.argmax(1)).mean())}
