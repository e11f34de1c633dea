"""What each loss is worth to a student of at most a quarter of its teacher's MACs, and what the closed form and the search reach.

    python benchmarks/distillation.py --subject cifar10 --part losses --state FILE [--minutes M]

Every run of a training is one piece: pieces that `--state` already holds are not done again, and `--minutes` ends between two pieces, so that a long
benchmark can be done in several sittings. Accuracy is measured on samples that nothing learned from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.dialects import onnxruntime_dialect
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.writer import Dialect
from edgewright.cli.demo.surface import surfaces
from edgewright.compression.activations import submodel
from edgewright.compression.network import Network
from edgewright.compression.recipe import Recipe, make_step
from edgewright.compression.runner import Settings, compress
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.card import card_from_toml
from edgewright.core.dataset import open_dataset
from edgewright.distillation.auto import search_student
from edgewright.distillation.costs import MeasuredCosts
from edgewright.distillation.filters import first_filters
from edgewright.distillation.forward_only import fit_forward
from edgewright.distillation.lessons import Lessons
from edgewright.distillation.objective import objective_from_text
from edgewright.distillation.onnx_form import onnx_of
from edgewright.distillation.record import Measure
from edgewright.distillation.request import DistillOptions
from edgewright.distillation.school import School, open_school
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.distillation.wiring import Wiring
from edgewright.engines.model import input_specs, read_model
from edgewright.engines.ort.runner import open_on_cpu

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("EDGEWRIGHT_DATA") or ROOT.parent / "shared" / "data")
SEEDS = (0, 1, 2)
LABELS = "labels"
LOSSES = (
    LABELS,
    "hinton",
    "labels,hinton",
    "labels,outputs=4",
    "labels,feature_distance=2",
    "labels,hints=2",
    "labels,correlation=20",
    "labels,activation_sequence=4",
    "activation_sequence",
    "labels,hinton,hints=2,activation_sequence=2",
)
JUDGED = 1000
# Two-sided 95 % of Student's t for 2 degrees of freedom: three seeds.
T95 = 4.303


@dataclass(frozen=True)
class Task:
    """A teacher, the data to learn from, and the samples that students are judged on."""

    teacher: Path
    data: Path
    inputs: np.ndarray
    labels: np.ndarray
    student: str
    hand_picked: tuple[str, ...]
    epochs: int
    seeds: tuple[int, ...] = SEEDS


def cifar10(work: Path, learned: int) -> Task:
    """The first of the shared CIFAR-10 images to learn from, all others (2,000 of 3,000) to judge on."""
    first, second = (np.load(DATA / "arrays" / f"cifar10-{name}.npz") for name in ("calibration", "evaluation"))
    images = np.concatenate([first["input"], second["input"]])
    labels = np.concatenate([first["labels"], second["labels"]])
    teacher = copied(DATA / "models" / "cifar10_resnet20.onnx", work)
    hand_picked = ("shrink:2,plain:16,plain:32/2,plain:64/2", "plain:8,separable:24x2/2,separable:48x2/2", "plain:8,residual:8/2,residual:16/2")
    return task(work, teacher, images, labels, learned, hand_picked[0], hand_picked, epochs=40)


def surface(work: Path, learned: int) -> Task:
    """Generated pictures of surfaces to learn from, 1,000 others to judge on."""
    images, labels = surfaces(learned + JUDGED, 4711)
    teacher = copied(ROOT / "cli" / "demo" / "surface_classifier.onnx", work)
    hand_picked = (
        "shrink:2,plain:16/2,plain:32/2,plain:64/2",
        "plain:8/2,separable:16x2/2,separable:32x2/2,separable:64/2",
        "shrink:2,plain:8/2,residual:16/2,residual:32/2",
    )
    return task(work, teacher, images, labels, learned, hand_picked[0], hand_picked, epochs=60)


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


# --- pieces -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Class:
    """A school with the lessons for one student: several trainings share what the teacher said once."""

    found: Task
    school: School
    wiring: Wiring
    lessons: Lessons

    def train(self, losses: str, seed: int, measure: Measure = "agreement", dialect: Dialect | None = None) -> tuple[object, float]:
        """The student's model, and the seconds of its training."""
        from edgewright.distillation.training.session import train_student
        from edgewright.distillation.training.trainer import TrainSettings

        started = time.monotonic()
        settings = TrainSettings(objective_from_text(losses), measure, epochs=self.found.epochs, batch=32, seed=seed, dialect=dialect)
        trained = train_student(
            self.wiring, first_filters(self.wiring, seed), self.lessons, self.school.interface, settings, identity="", folder=None, resumes=False,
            threads=1, progress=lambda _share, _note: None, stop=lambda: False,
        )  # fmt: skip
        return trained.model, time.monotonic() - started

    def piece(self, losses: str, seed: int) -> dict[str, float]:
        model, seconds = self.train(losses, seed)
        ratio = self.wiring.macs / self.school.network.macs
        return judged(model, self.found, self.school.network.model) | {"seconds": seconds, "macs_ratio": ratio}


@contextlib.contextmanager
def taught(found: Task, spec: str) -> Iterator[Class]:
    with opened(found, student=spec) as school:
        wiring = student_wiring(spec_from_text(spec), school.interface)
        with school.lessons(wiring) as lessons:
            lessons.keep()
            yield Class(found, school, wiring, lessons)


def losses_part(found: Task, pieces: Pieces) -> None:
    with taught(found, found.student) as taught_class:
        for seed in found.seeds:
            for losses in LOSSES:
                pieces.do(f"{losses}|{seed}", partial(taught_class.piece, losses, seed))


def embedding_part(found: Task, pieces: Pieces) -> None:
    """A teacher without a softmax: its features before the last layer, as an embedding. Judged through the teacher's own last layer."""
    network = Network(normalized_model(found.teacher).model)
    head = network.layers[-1]
    teacher = found.teacher.with_name("embedding.onnx")
    onnx.save(submodel(network.model, [head.source]), str(teacher))
    card = found.teacher.with_suffix(".toml").read_text("utf-8").partition("[task]")[0]
    teacher.with_suffix(".toml").write_text(card, "utf-8")
    weight, bias = network.weight(head), network.bias(head)
    with taught(replace(found, teacher=teacher), found.student) as taught_class:
        for seed in found.seeds:
            for losses in ("activation_sequence", "outputs", "outputs,activation_sequence=2"):
                pieces.do(f"{losses}|{seed}", partial(embedding_piece, taught_class, losses, seed, weight, bias))


def embedding_piece(taught_class: Class, losses: str, seed: int, weight: np.ndarray, bias: np.ndarray) -> dict[str, float]:
    model, seconds = taught_class.train(losses, seed, "sqnr_db")
    found = taught_class.found
    own, aim = (outputs(each, found.inputs) for each in (model, taught_class.school.network.model))
    scores, wanted = (values.reshape(len(values), -1) @ weight.reshape(len(weight), -1).T + bias for values in (own, aim))
    noise = float(np.square(own.reshape(aim.shape) - aim).sum())
    return {
        "top1": float((scores.argmax(1) == found.labels).mean()),
        "agreement": float((scores.argmax(1) == wanted.argmax(1)).mean()),
        "sqnr_db": 10 * math.log10(float(np.square(aim).sum()) / noise),
        "seconds": seconds,
    }


def auto_part(found: Task, pieces: Pieces) -> None:
    """Hand-picked students and the one that the search finds under the slowest one's time, all trained alike."""
    losses = "labels,hinton,activation_sequence=2"

    def measured(spec: str) -> dict[str, float]:
        with taught(found, spec) as taught_class:
            model = onnx_of(taught_class.wiring, first_filters(taught_class.wiring, 0), replace(taught_class.school.interface, batch=1))
            ms = min(RuntimeStopwatch(1).ms(model) for _ in range(5))
            return taught_class.piece(losses, 0) | {"ms": ms}

    for spec in found.hand_picked:
        pieces.do(f"hand {spec}", partial(measured, spec))
    slowest = max((pieces.known[f"hand {spec}"]["ms"] for spec in found.hand_picked if f"hand {spec}" in pieces.known), default=None)
    if slowest is not None:
        pieces.do("search", partial(searched, found, losses, slowest))
    if "search" in pieces.known:
        spec = pieces.known["search"]["spec"]
        pieces.do(f"auto {spec}", partial(measured, spec))


def searched(found: Task, losses: str, max_ms: float) -> dict[str, object]:
    from edgewright.distillation.training.trainer import TrainSettings

    started = time.monotonic()
    options = DistillOptions(losses=losses, max_latency_ms=max_ms)
    with opened(found, losses=losses) as school:
        settings = TrainSettings(school.objective, "agreement", batch=32)
        placed = search_student(
            school, options, settings, MeasuredCosts(RuntimeStopwatch(1)), progress=lambda _share, _note: None, stop=lambda: False
        )
    table = [f"{entry.spec} {entry.score:.3f} {entry.ms:.3f} ms, round {entry.round}" for entry in placed]
    return {"spec": placed[0].spec, "ms": placed[0].ms, "students": len(placed), "seconds": time.monotonic() - started, "table": table}


def forward_part(found: Task, pieces: Pieces) -> None:
    """The closed form: layers factorised and repaired to a share of the MACs, and students of another shape."""
    for ratio in (0.8, 0.6):
        pieces.do(f"factorize {ratio}", partial(factorized, found, ratio))
    for spec in found.hand_picked:
        pieces.do(f"forward-only {spec}", partial(forward_piece, found, spec))


def factorized(found: Task, ratio: float) -> dict[str, float]:
    started = time.monotonic()
    card = card_from_toml(found.teacher.with_suffix(".toml"))
    recipe = Recipe("f", (make_step("fold", {}), make_step("factorize", {"macs_ratio": ratio})), quantizes=False)
    data = open_dataset(found.data, card, input_specs(read_model(found.teacher)))
    made = compress(found.teacher, recipe, data, Settings(repair=True), is_classifier=True, progress=lambda _share, _note: None, cancel=lambda: False)
    seconds = time.monotonic() - started
    smaller = Network(made.model)
    return judged(made.model, found, made.original.model) | {
        "seconds": seconds,
        "macs_ratio": smaller.macs / made.original.macs,
        "samples": made.samples,
    }


def forward_piece(found: Task, spec: str) -> dict[str, float]:
    started = time.monotonic()
    with opened(found, student=spec) as school:
        wiring = student_wiring(spec_from_text(spec), school.interface)
        with school.lessons(wiring, is_forward_only=True) as lessons:
            model = onnx_of(wiring, fit_forward(wiring, first_filters(wiring, 0), lessons), school.interface)
        return judged(model, found, school.network.model) | {"seconds": time.monotonic() - started, "macs_ratio": wiring.macs / school.network.macs}


def quantized_part(found: Task, pieces: Pieces) -> None:
    """INT8 files of students that were trained with and without fake quantisation at the end."""
    with taught(found, found.student) as taught_class:
        for seed in found.seeds:
            for name, dialect in (("plain", None), ("fake-quantised", onnxruntime_dialect())):
                pieces.do(f"{name}|{seed}", partial(quantized_piece, taught_class, seed, dialect))


def quantized_piece(taught_class: Class, seed: int, dialect: Dialect | None) -> dict[str, float]:
    found = taught_class.found
    model, seconds = taught_class.train("labels,hinton", seed, dialect=dialect)
    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder, "student.onnx")
        student.write_bytes(model.SerializeToString())
        card = found.teacher.with_suffix(".toml")
        student.with_suffix(".toml").write_bytes(card.read_bytes())
        data = open_dataset(found.data, card_from_toml(card), input_specs(model))
        done = calibrate(student, data, Path(folder), CalibrationOptions(threads=1), progress=lambda _share, _note: None, cancel=lambda: False)
        codes = onnx.load(done.onnxruntime)
    teacher = taught_class.school.network.model
    return judged(codes, found, teacher) | {"float_top1": judged(model, found, teacher)["top1"], "seconds": seconds}


PARTS = {"quantized": quantized_part, "losses": losses_part, "embedding": embedding_part, "auto": auto_part, "forward": forward_part}


class Pieces:
    """What is done already, on disk after each piece; ends when the time is over."""

    def __init__(self, paths: Sequence[Path], minutes: float | None) -> None:
        self.path = next(iter(paths), None)
        self.known: dict[str, dict] = {}
        for path in paths:
            self.known |= json.loads(path.read_text("utf-8")) if path.is_file() else {}
        self.end_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.left = 0

    def do(self, name: str, work: Callable[[], dict]) -> None:
        if name in self.known:
            return
        if time.monotonic() > self.end_s:
            self.left += 1
            return
        self.known[name] = work()
        print(name, {key: round(value, 3) if isinstance(value, float) else value for key, value in self.known[name].items()}, flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.known, indent=1), "utf-8")


def table_of(known: dict[str, dict]) -> list[str]:
    """Mean and 95 % interval over the seeds, and of the difference to labels alone, seed by seed."""
    rows = []
    names = list(dict.fromkeys(name.rpartition("|")[0] for name in known if "|" in name))
    for name in names:
        runs = {seed: known[f"{name}|{seed}"] for seed in SEEDS if f"{name}|{seed}" in known}
        cells = [name, f"{len(runs)}"]
        cells += [interval([100 * run[key] for run in runs.values()]) for key in ("top1", "agreement")]
        pairs = [100 * (run["top1"] - known[f"{LABELS}|{seed}"]["top1"]) for seed, run in runs.items() if f"{LABELS}|{seed}" in known]
        cells.append(interval(pairs) if pairs and name != LABELS else "–")
        rows.append("| " + " | ".join(cells) + " |")
    return ["| losses | seeds | top-1 % | agreement % | top-1 − labels alone |", "|---|---|---|---|---|", *rows] if rows else []


def interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = T95 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) == 3 else math.nan
    return f"{statistics.mean(values):.1f} ± {half:.1f} (s {statistics.stdev(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="surface")
    parser.add_argument("--part", choices=sorted(PARTS), default="losses")
    parser.add_argument("--state", type=Path, action="append", default=[], help="where pieces are kept; of several files the first is written")
    parser.add_argument("--minutes", type=float, help="begin no piece after this time")
    parser.add_argument("--epochs", type=int, help="epochs of each training; default: the subject's own")
    parser.add_argument("--images", type=int, default=1000, help="how many images there are to learn from")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="only this one: states of several sittings can be given together")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = SUBJECTS[options.subject](Path(folder), options.images)
        found = replace(found, epochs=options.epochs or found.epochs, seeds=SEEDS if options.seed is None else (options.seed,))
        pieces = Pieces(options.state, options.minutes)
        PARTS[options.part](found, pieces)
    conditions = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "epochs": found.epochs,
        "left": pieces.left,
    }
    if options.json:
        print(json.dumps({"subject": options.subject, "part": options.part, "pieces": pieces.known, "conditions": conditions}))
        return
    print("\n".join(table_of(pieces.known)))
    print(conditions)


if __name__ == "__main__":
    main()
