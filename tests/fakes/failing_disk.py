"""A disk that takes no more from a given change on, as the kernel says it: full, read-only, or broken; until it is well again."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# What a full disk refuses. A read-only one refuses to delete as well.
GROWING = ("open", "write", "pwrite", "mkdir", "symlink", "link", "fsync", "rename", "ftruncate")
SHRINKING = ("unlink", "rmdir", "chmod")
ON_TARGET = ("symlink", "link", "rename")
FAULTS = {
    "out of descriptors": (errno.EMFILE, ("open",)),
    "full": (errno.ENOSPC, GROWING),
    "read-only": (errno.EROFS, (*GROWING, *SHRINKING)),
    "broken": (errno.EIO, (*GROWING, *SHRINKING)),
}


class FailingDisk:
    """Counts the changes below `root`; from the change number `at` on, until `mend`, they fail."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root = str(root)
        self._errno, self._refused = FAULTS[kind]
        self.at: int | None = None
        self.passed = self.failed = 0

    def mend(self) -> None:
        self.at = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        accessor = getattr(pathlib, "_normal_accessor", None)
        for name in self._refused:
            wrapped = self._wrap(name, getattr(os, name))
            patch.setattr(os, name, wrapped)
            if accessor is not None and hasattr(accessor, name):
                patch.setattr(accessor, name, wrapped)

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if self._is_ours(name, arguments, options):
                self.passed += 1
                if self.at is not None and self.passed > self.at:
                    self.failed += 1
                    raise OSError(self._errno, os.strerror(self._errno))
            return function(*arguments, **options)

        return wrapped

    def _is_ours(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC):
            return False
        subject = arguments[1] if name in ON_TARGET else arguments[0]
        folder = subject if isinstance(subject, int) else options.get("dir_fd")
        if isinstance(folder, int):
            return os.readlink(f"/proc/self/fd/{folder}").startswith(self._root)
        return os.fspath(subject).startswith(self._root)
