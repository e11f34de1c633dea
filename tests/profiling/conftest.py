"""Boards and sensors for tests of profiling."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def boards(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """Builders of kernel trees; see ``tests/fakes/power_boards.py``."""
    return load_fake("power_boards")
