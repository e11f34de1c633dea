"""A fleet's state folder with two devices, and the things that work on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.controller.database import Database
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.controller.reports import Reports
from edgewright.core.artifact import Artifact, describe_bytes
from edgewright.core.wire.messages import Event, Order

NOW_S = 1_800_000_000.0


@pytest.fixture
def paths(tmp_path: Path) -> FleetPaths:
    paths = FleetPaths(tmp_path / "state")
    paths.make()
    return paths


@pytest.fixture
def database(paths: FleetPaths) -> Iterator[Database]:
    with closing(Database(paths.database)) as database:
        yield database


@pytest.fixture
def orders(database: Database) -> Orders:
    """Of the fleet ``fleet``, with the devices ``board-1`` and ``board-2``."""
    orders = Orders(database, "fleet")
    for name in ("board-1", "board-2"):
        orders.enroll(name, NOW_S)
    return orders


@pytest.fixture
def recorder(database: Database, orders: Orders) -> Recorder:
    return Recorder(database)


@pytest.fixture
def reports(database: Database) -> Reports:
    return Reports(database)


@pytest.fixture
def order() -> Callable[..., Order]:
    """Makes orders of one small file."""

    def make(deployment: str = "d-1", version: str = "1", **fields: Any) -> Order:
        blob, _ = describe_bytes(version.encode())
        return Order(deployment=deployment, version=version, model=Artifact({"model.onnx": blob}), model_file="model.onnx", **fields)

    return make


@pytest.fixture
def event() -> Callable[..., Event]:
    """Makes events of ``board-1``, each with the next sequence unless one is given."""
    numbers = itertools.count(1)

    def make(state: Any, **changes: Any) -> Event:
        sequence = changes.pop("sequence", None) or next(numbers)
        fields = {"fleet": "fleet", "device": "board-1", "deployment": "d-1", "model": "m", "attempt": 1, "time_s": NOW_S + sequence} | changes
        return Event(state=state, sequence=sequence, id=f"{fields['device']}-{sequence}", **fields)

    return make
