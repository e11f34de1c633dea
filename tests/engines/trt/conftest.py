"""The adapter against each release of TensorRT: the fake of the release, the fake device, and the real bindings where they were fetched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.engines.trt.binding import Binding, inspect_module

FLAGGED = ("8.6", "10.3", "10.13", "10.16")


@pytest.fixture(scope="session")
def fake_tensorrt(load_fake: Callable[[str], ModuleType]) -> Any:
    return load_fake("tensorrt")


@pytest.fixture
def memory(load_fake: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The memory of a fake device that pycuda finds; ``memory.driver`` is the fake pycuda."""
    fake = load_fake("pycuda")
    found = fake.Memory()
    install_driver(monkeypatch, found, fake.make_driver(found))
    yield found
    driver = found.driver
    assert driver.depth == 0, "a context is still current"


def install_driver(monkeypatch: pytest.MonkeyPatch, memory: Any, driver: Any) -> None:
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    memory.driver = driver


@pytest.fixture
def settings(fake_tensorrt: Any, memory: Any) -> Any:
    return fake_tensorrt.Settings(memory)


@pytest.fixture
def binding_of(fake_tensorrt: Any, settings: Any) -> Callable[[str], Binding]:
    """``binding_of("10.3")`` is the adapter's view of the fake of that release."""
    return lambda release: inspect_module(fake_tensorrt.make_module(release, settings), "tensorrt_rtx" if release.startswith("rtx") else "tensorrt")


@pytest.fixture(scope="session")
def rtx() -> Binding:
    """The real TensorRT-RTX, whose parser and builder need no GPU."""
    from edgewright.core.errors import Unfit
    from edgewright.engines.trt.binding import load_binding

    try:
        return load_binding("tensorrt_rtx")
    except Unfit as error:
        pytest.skip(f"{error.message}: `make bindings` fetches it")


@pytest.fixture(scope="session")
def bindings_folder(project_root: Path) -> Path:
    """Where `make bindings` puts the real bindings of each release."""
    return project_root / ".venv" / "tensorrt"
