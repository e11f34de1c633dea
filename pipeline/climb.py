"""The building stage of `optimize`: climbs the ladder of engines, rung by rung."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..calibration.calibrate import Calibration
from ..core.dataset import Dataset
from ..core.errors import EdgewrightError, Unfit, error_from_reason
from ..engines.base import BuildOptions
from ..engines.discovery import load_backend
from .build import Built, build_engine, build_options
from .ladder import FALLBACK, Ladder, Rung, ladder
from .run import Run
from .sources import Sources, write_sources
from .subject import Subject
from .underway import underway

Progress = Callable[[float, str], None]
EXACT = "fp32"

# What ends the whole run, whichever rung meets it.
_FATAL = frozenset({"cancelled", "identity-unusable", "disk-full", "disk-read-only"})


@dataclass(slots=True)
class Climb:
    """Builds every rung of the ladder that can be built, the most faithful first; what cannot is noted.

    `subject` is the run's own model, or a compressed form of it; then `prefix` is the recipe's name and part of each engine's.
    `is_sparse` when its zeros are worth sparse kernels.
    """

    run: Run
    backend: str
    subject: Subject
    prefix: str = ""
    is_sparse: bool = False
    built: list[Built] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)

    def build_exact(self, start: float = 0.0, stop: float = 0.05) -> list[EdgewrightError]:
        """The FP32 engines, before anything costs time: reports compare with them. Returns why those that could not be built were not."""
        sources = Sources(self.subject.path)
        return self._build([rung for rung in self._ladder(sources).rungs if rung.precision == "fp32"], sources, start, stop)

    def build_others(self, sources: Sources, start: float = 0.5, stop: float = 0.55) -> None:
        found = self._ladder(sources)
        self.run.notes += found.notes
        self._build([rung for rung in found.rungs if rung.name not in self.tried], sources, start, stop)

    def write_sources(self, data: Dataset | None, work: Path, start: float, stop: float, *, quantizes: bool) -> Sources:
        """The files of the other rungs, below the existing, empty folder `work`."""
        run, subject, capabilities = self.run, self.subject, load_backend(self.backend).capabilities()
        step = f"{self.prefix}-calibration" if self.prefix else "calibration"
        progress = run.part(start, stop)
        written = run.attempt(step, lambda: write_sources(run, subject, data, work, capabilities, progress, quantizes=quantizes))
        return Sources(subject.path) if written is None else written

    def _ladder(self, sources: Sources) -> Ladder:
        return ladder(
            self.backend,
            load_backend(self.backend).capabilities(),
            frozenset(sources.files()),
            with_int8=sources.calibration is not None,
            with_fallback=self.backend != FALLBACK and self.run.request.backend is None,
        )

    def _build(self, rungs: list[Rung], sources: Sources, start: float, stop: float) -> list[EdgewrightError]:
        run, failures = self.run, []
        files = sources.files()
        share = (stop - start) / max(1, len(rungs))
        for index, rung in enumerate(rungs):
            run.check_cancelled()
            self.tried.add(rung.name)
            if (reason := _no_time_left(run, self.built)) is not None:
                run.notes.append(f"{self._name(rung)} was not tried: {reason}")
                continue
            if (lost := run.why_left_out(self._name(rung))) is not None:
                failures.append(error_from_reason(lost))
                continue
            begin = start + share * index
            try:
                self.built.append(self._try_rung(rung, files[rung.source], sources.calibration, run.part(begin, begin + share)))
            except EdgewrightError as error:
                if error.code in _FATAL:
                    raise
                failures.append(error)
                run.notes.append(f"{self._name(rung)} could not be built: {error.reason.line()}")
        return failures

    def _name(self, rung: Rung) -> str:
        """``fp32``, ``int8``; of a compressed model ``small``, ``small-int8``."""
        return rung.name if not self.prefix else self.prefix if rung.name == EXACT else f"{self.prefix}-{rung.name}"

    def _try_rung(self, rung: Rung, file: Path, calibration: Calibration | None, progress: Progress) -> Built:
        name = self._name(rung)
        if (reason := self.run.why_lost(name)) is not None:
            raise error_from_reason(reason)
        try:
            with underway(self.run.out, name):
                return self._build_rung(rung, file, calibration, progress)
        except MemoryError as error:
            raise Unfit("out-of-memory", f"there is not enough memory to build {name}", "Use a smaller model or allow more") from error

    def _build_rung(self, rung: Rung, file: Path, calibration: Calibration | None, progress: Progress) -> Built:
        run, subject = self.run, self.subject
        options = build_options(subject, precision=rung.precision, threads=run.request.threads, batch=run.request.batch)
        compatibility = "none" if load_backend(rung.backend).capabilities().is_plan_portable else run.request.compatibility
        model, options = _input_of(subject, rung, file, replace(options, is_sparse=self.is_sparse, compatibility=compatibility))
        table = calibration.table if calibration is not None and rung.precision in {"int8", "mixed"} else None
        return build_engine(self._name(rung), rung.backend, model, subject, run.out, options, run.workshop, table=table, progress=progress)


def _no_time_left(run: Run, built: list[Built]) -> str | None:
    """A build that would take longer than the budget has left is not begun: what is built already can still be measured."""
    limit_s = run.request.budget.max_build_s
    if limit_s is None or not built:
        return None
    longest_s = max(entry.build_s for entry in built)
    left_s = limit_s - (time.monotonic() - run.started_s)
    return f"a build takes about {longest_s:.0f} s, and the budget has {max(0.0, left_s):.0f} s left" if longest_s > left_s else None


def _input_of(subject: Subject, rung: Rung, file: Path, options: BuildOptions) -> tuple[Path, BuildOptions]:
    """The ONNX file of a rung; a calibration cache goes beside the original model."""
    if rung.source == "calibration-cache":
        return subject.path, replace(options, calibration_cache=file)
    return file, options
