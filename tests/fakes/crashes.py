"""Crashes a process at any of its effects: before each change of the disk below one folder, and before and after each call of a worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class CrashPoints:
    """Counts what can be crashed at; `at` is the number of the point that does it, None = none."""

    def __init__(self, state: Path, crash: type[BaseException]) -> None:
        self._state = str(state)
        self._crash = crash
        self.at: int | None = None
        self.passed = 0

    def point(self) -> None:
        """One point in the life of the process."""
        self.passed += 1
        if self.at is not None and self.passed > self.at:
            raise self._crash

    @contextmanager
    def armed(self, at: int | None) -> Iterator[None]:
        """Crash at the point number `at` from here on; and, dead, at every later one, which cleans nothing up."""
        self.at, self.passed = at, 0
        try:
            yield
        finally:
            self.at = None

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` behind a point, when it concerns the folder. After it and before the next one is the same to a disk."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if str(arguments[0]).startswith(self._state):
                self.point()
            return function(*arguments, **options)

        return wrapped

    def between(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` between two points."""

        def wrapped(*arguments: Any) -> Any:
            self.point()
            result = function(*arguments)
            self.point()
            return result

        return wrapped

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("rename", "unlink", "symlink_to", "hardlink_to", "chmod"):
            patch.setattr(Path, name, self.wrap(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", self.wrap(shutil.rmtree))
        # Descriptors have no names; only partial blobs are written by them.
        patch.setattr(os, "pwrite", self.between(os.pwrite))
