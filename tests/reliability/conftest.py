"""The harness of ``benchmarks/faults``, as the benchmark uses it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def faults() -> Iterator[Callable[[str], ModuleType]]:
    """``faults("power")`` imports ``benchmarks/faults/power.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield lambda name: importlib.import_module(f"faults.{name}")


@pytest.fixture(scope="module")
def ground(faults: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A broker and a controller for one device after the other."""
    from edgewright.controller.broker import find_mosquitto

    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    with faults("ground").Ground(tmp_path_factory.mktemp("ground") / "g") as running:
        yield running
