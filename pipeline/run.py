"""One run of the pipeline: what its stages hand to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..core.errors import Reason, Unfit
from .request import OptimizeRequest
from .subject import Subject
from .underway import measuring_step, underway
from .workshop import Workshop

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
Result = TypeVar("Result")


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

    def why_lost(self, step: str) -> Reason | None:
        """How the worker ended that died in `step`; None when none did."""
        return next((entry.reason for entry in self.request.lost if entry.name == step), None)

    def why_left_out(self, engine: str) -> Reason | None:
        """How the worker ended that died while it measured `engine`, with a note; None when none did."""
        reason = self.why_lost(measuring_step(engine))
        if reason is not None:
            self.notes.append(f"{engine} was left out, because measuring it ended its worker: {reason.line()}")
        return reason

    def attempt(self, step: str, action: Callable[[], Result]) -> Result | None:
        """What `action` returns; None with a note when an earlier worker died in it."""
        if (reason := self.why_lost(step)) is not None:
            self.notes.append(f"{step} was left out: {reason.line()}")
            return None
        with underway(self.out, step):
            return action()

    def check_cancelled(self) -> None:
        if self.cancel():
            raise Unfit("cancelled", "the run was cancelled", "Start it again")
