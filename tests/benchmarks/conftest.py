"""The benchmarks are scripts that import each other as neighbours: tests import and run them as such."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """``benchmark("transfer")`` imports ``benchmarks/transfer.py``."""
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def start_benchmark(project_root: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a benchmark as a person does, with `tmp_path` for its temporary files."""

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        environment.pop("PYTHONSAFEPATH", None)  # a script's neighbours are on its path, unless this says no
        command = [sys.executable, str(project_root / "benchmarks" / f"{name}.py"), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)

    return start


@pytest.fixture
def left_behind(tmp_path: Path) -> Callable[[], list[str]]:
    """What a benchmark that has ended left: files in `tmp_path`, and command lines of processes that name it."""

    def look() -> list[str]:
        found = [path.name for path in tmp_path.iterdir()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(str(tmp_path) in word for word in words):
                found.append(" ".join(words))
        return found

    return look
