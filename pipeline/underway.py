"""What a worker is doing right now, on disk: the one thing that is left to say which step took the worker down with it.

A step says its name before it starts, and takes it back when it ends, however it ends: only a worker that is killed leaves one. Of steps in one
another the innermost is named. Engines that are measured in turns say theirs at every turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import disk_errors

_NAME = ".underway"
# Longer than any engine is called, so that a name covers the one before it.
_LENGTH = 256


@contextmanager
def underway(out: Path, step: str) -> Iterator[None]:
    """Run the body as `step` of the run whose folder is `out`."""
    mark, around = out / _NAME, step_underway(out)
    with disk_errors(mark):
        mark.write_text(step, "utf-8")
    try:
        yield
    finally:
        _restore(mark, around)


def _restore(mark: Path, around: str | None) -> None:
    if around is None:
        mark.unlink(missing_ok=True)
    else:
        with disk_errors(mark):
            mark.write_text(around, "utf-8")


@contextmanager
def measuring(out: Path) -> Iterator[Callable[[str], None]]:
    """Run the body as the measuring of the engines of the run whose folder is `out`; it says whose turn it is.

    That is said in place: a file that is cut short and written again goes to the disk at once, which would disturb what is timed.
    """
    mark, around = out / _NAME, step_underway(out)
    with disk_errors(mark):
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    turn = ""

    def at(name: str) -> None:
        nonlocal turn
        if name != turn:
            turn = name
            with disk_errors(mark):
                os.pwrite(descriptor, measuring_step(name).encode()[:_LENGTH].ljust(_LENGTH), 0)

    try:
        yield at
    finally:
        os.close(descriptor)
        _restore(mark, around)


def measuring_step(engine: str) -> str:
    """The name of the step in which `engine` is measured."""
    return f"measuring {engine}"


def step_underway(out: Path) -> str | None:
    """The step in which the last worker on `out` was killed; None when it was in none."""
    try:
        return (out / _NAME).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
