"""One run of the pipeline: what its stages hand to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import Unfit
from .request import OptimizeRequest
from .subject import Subject
from .workshop import Workshop

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(slots=True)
class Run:
    """One run. `notes` says in words what the stages decided and why."""

    request: OptimizeRequest
    progress: Progress
    cancel: Cancel
    workshop: Workshop
    subject: Subject
    out: Path
    started_s: float
    notes: list[str] = field(default_factory=list)

    def part(self, start: float, stop: float) -> Progress:
        """Progress of one stage, as a share of the whole."""
        return lambda share, note: self.progress(start + (stop - start) * share, note)

    def check_cancelled(self) -> None:
        if self.cancel():
            raise Unfit("cancelled", "the run was cancelled", "Start it again")
