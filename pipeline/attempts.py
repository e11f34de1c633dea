"""The task `optimize` in children, so that one engine too large costs that engine and not the run.

A worker that dies of memory, or crashes, in one step (a rung of the ladder, calibration, compression, search, distillation: see `underway`) is
started again without that step, and the rungs below take its place; what was built and calibrated before comes from the cache. The reason is in
the notes. Time counts over all workers, memory for each.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from ..core.errors import Reason
from .child import Limits, Outcome, run_child
from .request import LostStep, OptimizeRequest
from .underway import step_underway

Progress = Callable[[float, str], None]
# More steps than a ladder has, with a compressed model's beside it.
MAX_WORKERS = 16


def run_optimize(request: OptimizeRequest, limits: Limits, *, on_progress: Progress | None = None, cancel: threading.Event | None = None) -> Outcome:
    """Run `optimize` and wait for it; blocks as `run_child` does. `request.out` is emptied between two workers."""
    started, out, peak_mb = time.monotonic(), Path(request.out), 0.0
    climbing = None if on_progress is None else _never_back(on_progress)
    while True:
        spent_s = time.monotonic() - started
        left = replace(limits, time_s=max(0.0, limits.time_s - spent_s))
        encoded = msgspec.json.encode(msgspec.structs.replace(request, spent_s=spent_s))
        outcome = run_child("optimize", encoded, left, on_progress=climbing, cancel=cancel)
        peak_mb = max(peak_mb, outcome.peak_mb)
        lost = _lost_step(out, outcome)
        if lost is None or len(request.lost) >= MAX_WORKERS - 1 or lost.name in {entry.name for entry in request.lost}:
            return _in_all(outcome, limits, time.monotonic() - started, peak_mb)
        request = msgspec.structs.replace(request, lost=(*request.lost, lost))
        _empty(out)


def _lost_step(out: Path, outcome: Outcome) -> LostStep | None:
    """The step that the worker died in; None when it did not die, was ended for another reason, or was in no step."""
    # A worker's own unit tells a crash as a failure by that name.
    has_died = outcome.kind in {"out_of_memory", "crashed"} or (outcome.reason is not None and outcome.reason.code == "worker-crashed")
    if not has_died or outcome.reason is None:
        return None
    name = step_underway(out)
    return None if name is None else LostStep(name=name, reason=outcome.reason)


def _in_all(outcome: Outcome, limits: Limits, seconds: float, peak_mb: float) -> Outcome:
    reason = outcome.reason
    if outcome.kind == "timed_out" and reason is not None:
        # The last worker had only what the others left.
        reason = Reason(reason.code, f"optimize took longer than {limits.time_s:g} s", reason.next, reason.family)
    return replace(outcome, reason=reason, seconds=seconds, peak_mb=peak_mb)


def _never_back(on_progress: Progress) -> Progress:
    """The next worker goes through again what the last one did: who watches sees it stand, not fall."""
    most = 0.0

    def progress(share: float, note: str) -> None:
        nonlocal most
        most = max(most, share)
        on_progress(most, note)

    return progress


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
