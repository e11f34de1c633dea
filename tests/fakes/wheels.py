"""Wheels of edgewright of other versions: one is built from the checkout, the others are it with a changed file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

BUILD = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"


def build_wheel(project: Path, folder: Path) -> Path:
    """The wheel of the checkout, by its own build backend."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "docs", "benchmarks")
    shutil.copytree(project, folder / "source", ignore=ignored)
    (folder / "wheel").mkdir()
    command = [sys.executable, "-I", "-W", "ignore", "-c", BUILD, str(folder / "wheel")]
    subprocess.run(command, cwd=folder / "source", capture_output=True, timeout=120, check=True)
    (wheel,) = (folder / "wheel").iterdir()
    return wheel


def other_version(wheel: Path, version: str, folder: Path, changes: dict[str, tuple[str, str]] | None = None) -> Path:
    """`wheel` as another version, in a folder of its own; `changes` replaces a text in a file, by the file's name in the package."""
    known = wheel.name.split("-")[1]
    target = folder / version / wheel.name.replace(f"-{known}-", f"-{version}-")
    target.parent.mkdir(parents=True)
    changes = {"__init__.py": (f'"{known}"', f'"{version}"'), **(changes or {})}
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            name = entry.filename.replace(f"-{known}.", f"-{version}.")
            if name.endswith(("/METADATA", "/RECORD")):
                data = data.replace(f"Version: {known}".encode(), f"Version: {version}".encode()).replace(
                    f"-{known}.".encode(), f"-{version}.".encode()
                )
            before, after = changes.get(name.removeprefix("edgewright/"), ("", ""))
            assert before.encode() in data
            new.writestr(name, data.replace(before.encode(), after.encode()) if before else data)
    return target
