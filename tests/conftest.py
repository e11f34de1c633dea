"""What every test may ask for: the project's root, the shared models and data, the fakes, and files with known content."""

from __future__ import annotations

import copy
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# Tests that import onnxruntime themselves must not let it phone home either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell starts its background jobs with SIGINT ignored, and programs inherit that: those that the tests interrupt must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Slow, shared machines: a limit on time per example says nothing about the code. Fixed examples: a run repeats on every machine.
settings.register_profile("edgewright", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgewright")


@pytest.fixture(autouse=True)
def _the_same_numbers_in_every_order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's ``RANDOM`` begins anew with every test: else what a test draws hangs on which tests ran before it."""
    generator = getattr(request.module, "RANDOM", None)
    if generator is not None:
        monkeypatch.setattr(request.module, "RANDOM", copy.deepcopy(generator))


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models and inputs, which are not part of the project: ``../shared/data`` or ``$EDGEWRIGHT_DATA``."""
    folder = Path(os.environ.get("EDGEWRIGHT_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "models").is_dir():
        pytest.skip(f"the shared models and data are not at {folder}; set EDGEWRIGHT_DATA")
    return folder


@pytest.fixture(scope="session")
def load_fake() -> Callable[[str], ModuleType]:
    """``load_fake("fleet")`` imports ``tests/fakes/fleet.py``, once: tests are not a package and are not on the path."""
    return _load_fake


def _load_fake(name: str) -> ModuleType:
    full_name = f"edgewright_fakes_{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    path = ROOT / "tests" / "fakes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True, scope="session")
def homeless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys and caches of the user who runs the tests are neither used nor written, also by child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEWRIGHT_STATE", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("user-state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user-cache")))
        yield


@pytest.fixture(scope="session")
def models() -> ModuleType:
    """Builders of small models with known weights: ``tests/fakes/onnx_models.py``."""
    return _load_fake("onnx_models")


@pytest.fixture
def tiny_classifier(models: ModuleType, tmp_path: Path) -> Path:
    """A classifier of four classes with its card, in a folder of its own."""
    path: Path = models.save(models.classifier(), tmp_path / "model" / "tiny.onnx", models.ARRAY_CARD)
    return path


@pytest.fixture
def wide_classifier(models: ModuleType, tmp_path: Path) -> Path:
    """A classifier with enough weights to be compressed; `tiny_samples` fit it."""
    path: Path = models.save(models.wide_classifier(), tmp_path / "wide" / "wide.onnx", models.ARRAY_CARD)
    return path


@pytest.fixture
def two_headed(models: ModuleType, tmp_path: Path) -> Path:
    """A model with two outputs and no card; `tiny_samples` fit it."""
    path: Path = models.save(models.two_headed(), tmp_path / "two_headed.onnx")
    return path


@pytest.fixture
def tiny_samples(models: ModuleType, tmp_path: Path) -> Path:
    """Forty unlabelled samples for `tiny_classifier`."""
    path: Path = models.save_samples(tmp_path / "samples.npz")
    return path


@pytest.fixture(scope="session")
def mqtt() -> ModuleType:
    """Real brokers and plain clients: ``tests/fakes/mqtt.py``."""
    return _load_fake("mqtt")


@pytest.fixture(scope="session", params=["mosquitto", "amqtt"])
def running_broker(request: pytest.FixtureRequest, mqtt: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with mqtt.running_broker(request.param, tmp_path_factory.mktemp(f"broker-{request.param}")) as broker:
        yield broker


@pytest.fixture
def broker(running_broker: Any) -> Iterator[Any]:
    """Each broker that is installed: the same for all tests, with nothing left at it by others."""
    yield running_broker
    running_broker.release()
