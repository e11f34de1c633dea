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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from compression_subjects import context, load
from distillation_subjects import DATA, SEEDS, SUBJECTS, Task, judged, opened, outputs
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.dialects import onnxruntime_dialect
from edgewright.calibration.normalize import normalized_model
from edgewright.calibration.writer import Dialect
from edgewright.compression.activations import submodel
from edgewright.compression.network import Network
from edgewright.compression.recipe import make_step
from edgewright.compression.timing import RuntimeStopwatch
from edgewright.core.card import card_from_toml
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.distillation.auto import search_student
from edgewright.distillation.costs import MeasuredCosts
from edgewright.distillation.filters import first_filters
from edgewright.distillation.forward_only import fit_forward
from edgewright.distillation.lessons import Lessons
from edgewright.distillation.objective import objective_from_text
from edgewright.distillation.onnx_form import onnx_of
from edgewright.distillation.record import Measure
from edgewright.distillation.request import DistillOptions
from edgewright.distillation.school import School
from edgewright.distillation.spec import spec_from_text
from edgewright.distillation.student import student_wiring
from edgewright.distillation.wiring import Wiring
from edgewright.engines.model import input_specs
from paired import table_of
from pieces import Pieces

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
# What students of the search and the hand-picked ones beside them learn from.
SEARCHED = "labels,hinton,activation_sequence=2"
REPAIRED = ("cifar10_resnet20", "surface_classifier", "squeezenet1.1")


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
            for losses in found.ways or LOSSES:
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
            for losses in found.ways or ("outputs", "activation_sequence", "outputs,activation_sequence=2"):
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
    pieces.do("times of the hand-picked", lambda: times(found, found.hand_picked))
    if "times of the hand-picked" in pieces.known:
        pieces.do("search", partial(searched, found, max(pieces.known["times of the hand-picked"].values())))
    specs = [*found.hand_picked, *([pieces.known["search"]["spec"]] if "search" in pieces.known else [])]
    for spec in dict.fromkeys(specs):
        with taught(found, spec) as taught_class:
            for seed in found.seeds:
                pieces.do(f"{spec}|{seed}", partial(taught_class.piece, SEARCHED, seed))
    if "search" in pieces.known:
        pieces.do("times", lambda: times(found, tuple(dict.fromkeys(specs))))


def times(found: Task, specs: Sequence[str], rounds: int = 15) -> dict[str, float]:
    """Milliseconds of each student at batch 1, one thread: the least of rounds in which they take turns."""
    with opened(found, student=specs[0]) as school:
        wirings = [student_wiring(spec_from_text(spec), school.interface) for spec in specs]
        models = [onnx_of(wiring, first_filters(wiring, 0), replace(school.interface, batch=1)) for wiring in wirings]
    stopwatch = RuntimeStopwatch(1)
    turns = [[stopwatch.ms(model) for model in models] for _ in range(rounds)]
    return dict(zip(specs, map(min, zip(*turns, strict=True)), strict=True))


def front_of(known: Mapping[str, dict]) -> list[str]:
    """Each student's time and accuracy, the found one last, and who is both faster and better than that."""
    if "times" not in known:
        return []
    top1 = {spec: statistics.mean(run["top1"] for name, run in known.items() if name.rpartition("|")[0] == spec) for spec in known["times"]}
    auto = known["search"]["spec"]
    lines = [f"{spec}: {ms:.4f} ms, top-1 {100 * top1[spec]:.1f} %" for spec, ms in known["times"].items()]
    above = [spec for spec, ms in known["times"].items() if ms < known["times"][auto] and top1[spec] > top1[auto]]
    return [*lines, f"the search chose {auto}; faster and better than that: {', '.join(above) or 'none'}"]


def searched(found: Task, max_ms: float) -> dict[str, object]:
    from edgewright.distillation.training.trainer import TrainSettings

    started = time.monotonic()
    options = DistillOptions(losses=SEARCHED, max_latency_ms=max_ms, epochs=found.epochs)
    with opened(found, losses=SEARCHED) as school:
        settings = TrainSettings(school.objective, "agreement", epochs=found.epochs, batch=32)
        placed = search_student(
            school, options, settings, MeasuredCosts(RuntimeStopwatch(1)), progress=lambda _share, _note: None, stop=lambda: False
        )
    table = [f"{entry.spec} {entry.score:.3f} {entry.ms:.3f} ms, round {entry.round}" for entry in placed]
    return {"spec": placed[0].spec, "ms": placed[0].ms, "students": len(placed), "seconds": time.monotonic() - started, "table": table}


def forward_part(found: Task, pieces: Pieces) -> None:
    """Students of another shape in closed form."""
    for spec in found.hand_picked:
        pieces.do(f"forward-only {spec}", partial(forward_piece, found, spec))


def repair_part(found: Task, pieces: Pieces) -> None:
    """Layers factorised and repaired to a share of the MACs, from unlabelled samples; of the three models, whatever the subject."""
    for name in REPAIRED:
        for ratio in (0.8, 0.6):
            for is_timed in (False, True):
                pieces.do(f"{name} {ratio}{' timed' if is_timed else ''}", partial(repaired, found.data.parent, name, ratio, is_timed=is_timed))


def repaired(folder: Path, name: str, ratio: float, *, is_timed: bool) -> dict[str, object]:
    subject = load(name, DATA, folder)
    step = make_step("factorize", {"macs_ratio": ratio})
    started, spent = time.monotonic(), time.process_time()
    try:
        made = step.work.call(subject.network, step.options, context(subject.calibration, repair=True, timed=is_timed))
    except Rejected as error:
        return {"refused": str(error)}
    seconds, cpu_s = time.monotonic() - started, time.process_time() - spent
    macs_ratio = Network(made.model).macs / subject.network.macs
    return subject.fidelity(made.model) | {"seconds": seconds, "cpu_s": cpu_s, "macs_ratio": macs_ratio, "samples": subject.calibration.count}


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


PARTS = {
    "quantized": quantized_part,
    "losses": losses_part,
    "embedding": embedding_part,
    "auto": auto_part,
    "forward": forward_part,
    "repair": repair_part,
}
BASES = {"losses": LABELS, "embedding": "outputs", "quantized": "plain"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="surface")
    parser.add_argument("--part", choices=sorted(PARTS), default="losses")
    parser.add_argument("--state", type=Path, action="append", default=[], help="where pieces are kept; of several files the first is written")
    parser.add_argument("--minutes", type=float, help="begin no piece after this time")
    parser.add_argument("--epochs", type=int, help="epochs of each training; default: the subject's own")
    parser.add_argument("--images", type=int, default=1000, help="how many images there are to learn from")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="states of several sittings can be given together")
    parser.add_argument("--losses", nargs="+", default=(), help="only these, as `edgewright distill --losses` takes them; default: all of the part")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = SUBJECTS[options.subject](Path(folder), options.images)
        found = replace(found, epochs=options.epochs or found.epochs, seeds=tuple(options.seeds), ways=tuple(options.losses))
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
    print("\n".join(table_of(pieces.known, BASES.get(options.part, "")) if options.part in BASES else front_of(pieces.known)))
    print(conditions)


if __name__ == "__main__":
    main()
