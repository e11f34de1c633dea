"""A device to try things on, and the parts that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fake_device(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    """The module ``tests/fakes/device.py``."""
    return load_fake("device")


@pytest.fixture
def make_device(fake_device: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """Make a started device on a folder of its own."""
    return lambda **options: fake_device.Device(tmp_path / "state", **options)


@pytest.fixture
def device(make_device: Callable[..., Any]) -> Any:
    return make_device()


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of devices are started and crashed here, and no power fails: nothing has to wait for a disk."""
    monkeypatch.setattr("edgewright.core.files.os.fsync", lambda _descriptor: None)


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices here are restarted by whoever started them: their agent can be exchanged."""
    monkeypatch.setenv("EDGEWRIGHT_LAUNCHED", "1")
