"""Boards and sensors for tests of profiling."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def boards(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """Builders of kernel trees; see ``tests/fakes/power_boards.py``."""
    return load_fake("power_boards")


@pytest.fixture(scope="session")
def scenes(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """Loads on simulated boards; see ``tests/fakes/power_scenes.py``."""
    return load_fake("power_scenes")


@pytest.fixture(scope="session")
def chips(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """The simulated sensor; see ``tests/fakes/ina3221_chip.py``."""
    return load_fake("ina3221_chip")
