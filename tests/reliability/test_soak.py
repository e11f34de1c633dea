"""The soak, for a quarter of a minute. ``make soak`` runs it for an hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from edgewright.controller.broker import find_mosquitto

SECONDS = 15.0


@pytest.mark.slow
def test_an_agent_under_random_faults_brings_everything_to_its_end(faults: Callable[[str], ModuleType], tmp_path: Path) -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    soak = faults("soak").Soak(tmp_path / "soak", 11, SECONDS)
    soak.wait()

    assert soak.wrong == []
    assert sum(number for kind, number in soak.counts.items() if kind.endswith("orders")) >= 1
