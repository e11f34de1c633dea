"""What a worker is doing right now, on disk: the one thing that is left to say which step took the worker down with it.

A step says its name before it starts, and takes it back when it ends, however it ends: only a worker that is killed leaves one. Of steps in one
another the innermost is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import disk_errors

_NAME = ".underway"


@contextmanager
def underway(out: Path, step: str) -> Iterator[None]:
    """Run the body as `step` of the run whose folder is `out`."""
    mark, around = out / _NAME, step_underway(out)
    with disk_errors(mark):
        mark.write_text(step, "utf-8")
    try:
        yield
    finally:
        if around is None:
            mark.unlink(missing_ok=True)
        else:
            with disk_errors(mark):
                mark.write_text(around, "utf-8")


def step_underway(out: Path) -> str | None:
    """The step in which the last worker on `out` was killed; None when it was in none."""
    try:
        return (out / _NAME).read_text("utf-8") or None
    except OSError:
        return None
