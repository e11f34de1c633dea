"""Power cuts: a device (`tests/fakes/device.py`: the real deployer, store, slots, journal and outbox) lives on a disk that loses what was not
synced.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from edgewright.engines.manifest import read_manifest
from edgewright.engines.opening import verify_files

from .power import Disk

FAKES = Path(__file__).resolve().parents[2] / "tests" / "fakes"


def load_fake(name: str) -> ModuleType:
    full_name = f"edgewright_fakes_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, FAKES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full_name])
    return sys.modules[full_name]


class Cuts:
    """Tells one tale, with the power cut before any of its changes of the disk."""

    def __init__(self, folder: Path, tale: Any, patch: Any) -> None:
        self._device, self._tales = load_fake("device"), load_fake("tales")
        self._folder, self._tale = folder, tale
        self._prepared = self._device.Device(folder / "prepared")
        tale.prepare(self._prepared)
        self._state = folder / "state"
        self._at: int | None = None
        self.passed = 0
        self._disk = Disk(self._state, self._point)
        self._disk.install(patch)
        self.expected = self.tell()[0]

    def _point(self) -> None:
        self.passed += 1
        if self._at is not None and self.passed > self._at:
            raise self._device.Crash

    def tell(self, at: int | None = None, seed: int = 0) -> tuple[Any, list[str]]:
        """The picture of the end, and what was wrong on the way, when the power is cut before the change number `at`."""
        shutil.rmtree(self._state, ignore_errors=True)
        shutil.copytree(self._folder / "prepared", self._state, symlinks=True)
        self._at = None
        device = self._device.Device(self._state)
        device.delivered.update(self._prepared.delivered)
        self._tale.tell(device)
        runs = device.current()
        wrong: list[str] = []
        self._disk.begin()
        self._at, self.passed = at, 0
        try:
            self._live(device)
        except self._device.Crash:
            device.crashed()
            self._at = None
            self._disk.cut(random.Random(f"{at} {seed}"))
            wrong = self._look(runs)
            try:
                device.start(runtime=device.deployer.runtime)
                self._live(device)
            except Exception as error:
                return {}, [*wrong, f"after the cut: {type(error).__name__}: {error}"]
        self._disk.end()
        self._at = None
        if not self._tales.is_told_without_a_gap(device):
            wrong.append("it was told with a gap")
        return self._tales.picture(device, self._device), wrong

    def _live(self, device: Any) -> None:
        self._tale.do(device)
        device.settle(until_s=300.0)

    def _look(self, runs: str | None) -> list[str]:
        """What the application finds after the cut, before anybody repairs anything."""
        link = self._state / "models" / "surface" / "current"
        if not link.is_symlink():
            return [] if runs is None or self._tale.is_removal else ["the application has nothing"]
        try:
            folder = link.resolve(strict=True)
            verify_files(folder, read_manifest(folder))
        except Exception as error:
            return [f"the active engine is not whole: {type(error).__name__}: {error}"]
        return []
