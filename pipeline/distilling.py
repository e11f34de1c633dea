"""The distillation stage: from a teacher and its data to a folder with a student, measured beside its teacher through the runner.

The folder holds ``student.onnx`` with its card, ``curves.svg``, ``report.json``, and while it trains ``checkpoint.pt`` and ``student.txt``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import onnx

from ..calibration.dialects import TENSORRT, onnxruntime_dialect
from ..compression.activations import submodel
from ..compression.timing import RuntimeStopwatch
from ..core.dataset import Dataset
from ..core.errors import Rejected
from ..core.files import write_atomic
from ..core.measurement import Energy, Fidelity, Latency
from ..distillation.auto import Placed, search_student
from ..distillation.costs import MeasuredCosts
from ..distillation.curves import svg_of
from ..distillation.filters import first_filters
from ..distillation.forward_only import fit_forward
from ..distillation.lessons import labelled
from ..distillation.onnx_form import onnx_of
from ..distillation.record import Ending, History
from ..distillation.request import DistillOptions
from ..distillation.school import School, open_school
from ..distillation.spec import StudentSpec, spec_from_text
from ..distillation.student import student_wiring
from ..distillation.torch_here import require_torch
from ..distillation.wiring import Wiring
from .build import build_options, unfinished
from .ladder import FALLBACK
from .logits import with_logits
from .measure import EngineUnderTest, first_feeds, measure_fidelity, measure_timing
from .pricing import table_here
from .subject import Subject, batch_for, open_subject

if TYPE_CHECKING:
    from ..distillation.training.session import TrainedStudent
    from ..distillation.training.trainer import TrainSettings

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
STUDENT, SPEC, CURVES, REPORT = "student.onnx", "student.txt", "curves.svg", "report.json"
SEARCH_SHARE = 0.4
Measured = Literal["evaluation", "calibration"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The teacher or the student, as measured."""

    macs: int
    params: int
    size_bytes: int
    latency_ms: Latency
    energy_mj: Energy | None
    energy_reason: str | None


class DistillResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, how it was trained (`history` None = in closed form), and what it is worth beside its teacher."""

    path: str
    spec: str
    losses: tuple[str, ...]
    ending: Ending
    history: History | None
    searched: tuple[Placed, ...]
    teacher: Side
    student: Side
    fidelity: Fidelity
    export_error: float | None
    notes: tuple[str, ...]
    seconds: float


def run_distillation(
    path: Path,
    data: Path,
    evaluation: Path | None,
    out: Path,
    options: DistillOptions,
    *,
    resumes: bool = False,
    seconds: float = 2.0,
    cache: Path | None = None,
    progress: Progress,
    stop: Cancel,
) -> DistillResult:
    """Distil the teacher at `path` into the existing folder `out`; what operations cost here is kept in the folder `cache`.

    Raises:
        Rejected: what is wrong with the teacher, the data, the student or the training.
        Unfit: ``torch-missing``, ``cancelled``.
    """
    started = time.monotonic()
    if not options.is_forward_only:
        require_torch()
    subject = open_subject(path)
    evaluation_set = None if evaluation is None else subject.dataset(evaluation)
    with open_school(path, subject.card, lambda: subject.dataset(data), options) as school:
        made = make_student(school, options, out, resumes=resumes, cache=cache, progress=_part(progress, 0.0, 0.9), stop=stop)
        write_atomic(out / STUDENT, made.model.SerializeToString())
        _copy_card(subject, out)
        progress(0.9, "measuring")
        judged_by: tuple[Dataset, Measured] = (
            (labelled(subject.dataset(data), options.labels), "calibration") if evaluation_set is None else (evaluation_set, "evaluation")
        )
        teacher, student, fidelity = _measure(subject, school, made.wiring, out, *judged_by, threads=options.threads, seconds=seconds)
    trained = made.trained
    result = DistillResult(
        path=str(out / STUDENT),
        spec=str(made.spec),
        losses=() if trained is None else tuple(f"{term.loss}={term.weight:g}" for term in school.objective),
        ending="finished" if trained is None else trained.ending,
        history=None if trained is None else trained.history,
        searched=made.searched,
        teacher=teacher,
        student=student,
        fidelity=fidelity,
        export_error=None if trained is None else trained.export_error,
        notes=(*school.notes, *_notes(subject, school)),
        seconds=round(time.monotonic() - started, 3),
    )
    if trained is not None:
        write_atomic(out / CURVES, svg_of(trained.history, f"{subject.path.stem} teaches {made.spec}").encode())
    write_atomic(out / REPORT, msgspec.json.format(msgspec.json.encode(result), indent=2))
    progress(1.0, "distilled")
    return result


@dataclass(frozen=True, slots=True)
class Student:
    """A student before it is measured; `trained` None = in closed form."""

    model: Any
    spec: StudentSpec
    wiring: Wiring
    trained: TrainedStudent | None
    searched: tuple[Placed, ...]


def make_student(
    school: School, options: DistillOptions, out: Path, *, resumes: bool, cache: Path | None = None, progress: Progress, stop: Cancel
) -> Student:
    """Find and teach a student; its checkpoint and its spec are kept in `out`."""
    searched: tuple[Placed, ...] = ()
    spec, begin = _named_spec(options, out, resumes=resumes), 0.0
    if spec is None:
        searched = _search(school, options, cache, progress=_part(progress, 0.0, SEARCH_SHARE), stop=stop)
        spec, begin = spec_from_text(searched[0].spec), SEARCH_SHARE
    wiring = student_wiring(spec, school.interface)
    write_atomic(out / SPEC, str(spec).encode())
    part = _part(progress, begin, 1.0)
    with school.lessons(wiring, is_forward_only=options.is_forward_only) as lessons:
        lessons.keep(cancel=stop)
        start = first_filters(wiring, options.seed)
        if options.is_forward_only:
            filters = fit_forward(wiring, start, lessons, threads=options.threads, progress=part, cancel=stop)
            return Student(onnx_of(wiring, filters, school.interface), spec, wiring, None, searched)
        from ..distillation.training.session import train_student

        trained = train_student(
            wiring,
            start,
            lessons,
            school.interface,
            _settings(school, options, None if options.minutes is None else options.minutes * (1 - begin)),
            identity=school.identity(str(spec), options.seed),
            folder=out,
            resumes=resumes,
            threads=options.threads,
            progress=part,
            stop=stop,
        )
    return Student(trained.model, spec, wiring, trained, searched)


def _part(progress: Progress, start: float, stop: float) -> Progress:
    return lambda share, note: progress(start + (stop - start) * share, note)


def _notes(subject: Subject, school: School) -> list[str]:
    others = [spec.name for spec in subject.outputs if spec.name != school.interface.output_name]
    return [f"the student has no {', '.join(others)}: it learned {school.interface.output_name} alone"] if others else []


def _named_spec(options: DistillOptions, out: Path, *, resumes: bool) -> StudentSpec | None:
    """The student that was asked for, or that an earlier run settled on; None when it is to be found."""
    if options.student != "auto":
        return spec_from_text(options.student)
    if options.is_forward_only:
        raise Rejected("student-spec-bad", "a forward-only student cannot be searched for: its scores would not tell", "Name one: --student SPEC")
    file = out / SPEC
    return spec_from_text(file.read_text("utf-8")) if resumes and file.is_file() else None


def _settings(school: School, options: DistillOptions, minutes: float | None) -> TrainSettings:
    from ..distillation.training.trainer import TrainSettings

    return TrainSettings(
        objective=school.objective,
        measure="agreement" if school.interface.can_soften else "sqnr_db",
        epochs=options.epochs,
        batch=options.batch,
        rate=options.rate,
        seed=options.seed,
        minutes=minutes,
        dialect={"none": None, "onnxruntime": onnxruntime_dialect(), "tensorrt": TENSORRT}[options.quantize],
    )


def _search(school: School, options: DistillOptions, cache: Path | None, *, progress: Progress, stop: Cancel) -> tuple[Placed, ...]:
    minutes = None if options.minutes is None else options.minutes * SEARCH_SHARE
    settings = replace(_settings(school, options, minutes), dialect=None)
    costs = MeasuredCosts(RuntimeStopwatch(options.threads), table_here(cache, FALLBACK, options.threads))
    return search_student(school, options, settings, costs, progress=progress, stop=stop)


def _copy_card(subject: Subject, out: Path) -> None:
    card = subject.path.with_suffix(".toml")
    if card.is_file():
        shutil.copyfile(card, (out / STUDENT).with_suffix(".toml"))


def _measure(
    subject: Subject, school: School, wiring: Wiring, out: Path, data: Dataset, measured_on: Measured, *, threads: int, seconds: float
) -> tuple[Side, Side, Fidelity]:
    """Both sides in turns, and the student's fidelity to its teacher on the one output that it learned."""
    options = build_options(subject, precision="fp32", threads=threads, batch=1)
    with unfinished(out, "measure") as work:
        teacher = work / "teacher.onnx"
        onnx.save(submodel(school.network.model, [school.interface.output_name]), str(teacher))
        alone = replace(subject, path=teacher)
        engines = {"teacher": EngineUnderTest("onnxruntime", teacher, options), "student": EngineUnderTest("onnxruntime", out / STUDENT, options)}
        with with_logits(alone, engines, work) as seen:
            fidelity = measure_fidelity(alone, "teacher", seen, data, measured_on, progress=lambda _share, _note: None, cancel=lambda: False)
        batch = batch_for(subject.inputs, 1)
        timings = measure_timing(engines, dict.fromkeys(engines, first_feeds(data, batch)), seconds=seconds, batch=batch)
        costs = {"teacher": (school.network.macs, school.network.params), "student": (wiring.macs, wiring.params)}
        sides = {
            name: Side(
                macs=costs[name][0],
                params=costs[name][1],
                size_bytes=entry.engine.stat().st_size,
                latency_ms=timings[name].latency_ms,
                energy_mj=timings[name].energy_mj,
                energy_reason=timings[name].energy_reason,
            )
            for name, entry in engines.items()
        }
    return sides["teacher"], sides["student"], fidelity["student"]
