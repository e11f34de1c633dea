"""A build's progress as one share from 0 to 1, and its cancel.

TensorRT tells of phases inside phases, from several threads. A phase's share is what it finished and what its inner phases are worth.
Before 10 there is no monitor: lines of the verbose log are counted, and a build can only be ended with its process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ..base import Progress
from .binding import Binding
from .log import is_progress

MAX_SHARE = 0.99


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """Turns phases into shares. `error` is what `progress` raised: from then on every answer is "cancel"."""

    def __init__(self, progress: Progress) -> None:
        self.error: BaseException | None = None
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._best = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = _Phase(parent, max(1, steps))

    def step(self, name: str, step: int) -> bool:
        """One step is done; returns whether to go on."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = min(phase.steps, step + 1)
            return self._tell(name)

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def count(self, done: int, expected: int) -> None:
        """Progress by counting, where there are no phases."""
        with self._lock:
            self._report(done / (done + max(1, expected)), "building")

    def _tell(self, name: str) -> bool:
        roots = [key for key, phase in self._phases.items() if phase.parent is None or phase.parent not in self._phases]
        share = max((self._share(root) for root in roots), default=0.0)
        return self._report(share, name)

    def _report(self, share: float, note: str) -> bool:
        if self.error is None and share > self._best:
            self._best = min(MAX_SHARE, share)
        if self.error is None:
            try:
                self._progress(self._best, note)
            except BaseException as error:
                self.error = error
        return self.error is None

    def _share(self, name: str) -> float:
        phase = self._phases[name]
        inner = max((self._share(key) for key, other in self._phases.items() if other.parent == name), default=0.0)
        return min(1.0, (phase.done + inner * (phase.done < phase.steps)) / phase.steps)


def make_monitor(binding: Binding, state: BuildProgress) -> Any:
    """An ``IProgressMonitor`` of this release that tells `state`."""
    base = binding.trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type] # the base comes from an untyped module
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            state.start(phase_name, parent_phase or None, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return state.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            state.finish(phase_name)

    return Monitor()


class LineCounter:
    """Listens to the verbose log of a release without a monitor. `expected` is known once the network is parsed."""

    def __init__(self, state: BuildProgress) -> None:
        self.expected = 1
        self._state = state
        self._seen = 0

    def __call__(self, line: str) -> None:
        if is_progress(line):
            self._seen += 1
            self._state.count(self._seen, self.expected)
