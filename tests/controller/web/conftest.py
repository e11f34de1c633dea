"""One small fleet behind the application, a clock that stands still until it is moved, and whoever asks."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the page needs pip install 'edgewright[dashboard]'")

from edgewright.controller.database import Database
from edgewright.controller.inventory import Inventory
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.controller.recorder import Recorder
from edgewright.controller.tokens import Tokens
from edgewright.controller.web import openapi
from edgewright.controller.web.app import build_app
from edgewright.controller.web.site import Site, site_of
from edgewright.core.budget import Verdict
from edgewright.core.errors import Reason
from edgewright.core.measurement import Candidate, Energy, Fidelity, Latency
from edgewright.core.wire.messages import Capabilities, Measurement, Rival, Status, Telemetry

NOW_S = 1_800_000_000.0
NASTY = "<script>alert(1)</script>"


@dataclass
class Clock:
    """Stands still until it is moved."""

    now_s: float = NOW_S + 100

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def fleet_keys(tmp_path_factory: pytest.TempPathFactory) -> FleetPaths:
    """Keys of the fleet ``fleet``, made once."""
    paths = FleetPaths(tmp_path_factory.mktemp("fleet-keys"))
    paths.make()
    init_keys(paths, "fleet", dt.datetime.now(dt.timezone.utc))
    return paths


@pytest.fixture
def site(database: Database, paths: FleetPaths, orders: Orders, clock: Clock, fleet_keys: FleetPaths) -> Site:
    """Of the fleet ``fleet``, with the devices ``board-1`` and ``board-2``."""
    shutil.copytree(fleet_keys.trust, paths.trust, dirs_exist_ok=True)
    shutil.copytree(fleet_keys.keys, paths.keys, dirs_exist_ok=True)
    Inventory(database).set_labels("board-1", {"site": "hall-3"}, "user:x", NOW_S)
    return site_of(database, paths, "fleet", clock)


@pytest.fixture(scope="session", autouse=True)
def _one_description() -> Iterator[None]:
    """Making the description takes longer than all else that a test of these does."""
    document = openapi.document()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openapi, "document", lambda: document)
        yield


@pytest.fixture
def app(site: Site) -> Any:
    return build_app(site)


@pytest.fixture(scope="session")
def asgi(load_fake: Callable[[str], ModuleType]) -> ModuleType:
    return load_fake("asgi")


@pytest.fixture
def program(app: Any, asgi: ModuleType, database: Database) -> Callable[..., Any]:
    """``program("operator")`` asks with a token of that role; without a role it has none."""

    def make(role: str | None = "viewer", **fields: Any) -> Any:
        token = None if role is None else Tokens(database).create(role, role, "user:x", NOW_S)  # type: ignore[arg-type] # a role
        return asgi.Client(app, token, **fields)

    return make


@pytest.fixture
def browser(app: Any, asgi: ModuleType, database: Database) -> Callable[..., Any]:
    """``browser("operator")`` has logged in with a token of that role."""

    def make(role: str = "viewer", **fields: Any) -> Any:
        client = asgi.Client(app, **fields)
        token = Tokens(database).create(role, role, "user:x", NOW_S)  # type: ignore[arg-type] # a role
        assert client.post("/login", {"token": token}).status == 303
        client.known = SimpleNamespace(token=token)
        return client

    return make


@pytest.fixture
def measured() -> Measurement:
    """INT8 beside FP32, and FP16 that was not chosen."""

    def candidate(name: str, p50_ms: float, fidelity: Fidelity | None) -> Candidate:
        latency = Latency(mean=p50_ms, p50=p50_ms, p90=p50_ms, p99=2 * p50_ms, samples=200)
        energy = Energy(mean=10 * p50_ms, ci95=(9 * p50_ms, 11 * p50_ms), source="ina3221")
        return Candidate(name=name, backend="ort", path="e", size_bytes=1000, latency_ms=latency, energy_mj=energy, fidelity=fidelity)

    fidelity = Fidelity(top1_fp32=0.9, top1=0.89, agreement=0.98, sqnr_db=25.0, samples=100)
    rivals = (
        Rival(name="fp32", backend="ort", size_bytes=4000, latency_p50_ms=8.0),
        Rival(name="int8", backend="ort", size_bytes=1000, latency_p50_ms=4.0, sqnr_db=25.0, agreement=0.98),
        Rival(name="slow", backend="ort", size_bytes=1000, latency_p50_ms=9.0, sqnr_db=24.0, agreement=0.97),
    )
    return Measurement(chosen=candidate("int8", 4.0, fidelity), baseline=candidate("fp32", 8.0, None), verdict=Verdict(accepted=True), rivals=rivals)


@pytest.fixture
def lively(site: Site, orders: Orders, database: Database, order: Any, event: Any, measured: Measurement) -> Site:
    """`site` after a day: ``board-1`` runs what was deployed as ``d-1``, ``board-2`` refused it in words that no page may believe."""
    recorder = Recorder(database)
    orders.deploy("m", order(), [], NOW_S, "user:x")
    recorder.record(
        Capabilities(fleet="fleet", device="board-1", board="B", machine="x", agent_version="1", memory_mb=1, cores=1, hardware_class="class A"),
        NOW_S,
    )
    recorder.record(
        Capabilities(fleet="fleet", device="board-2", board="B", machine="x", agent_version="1", memory_mb=1, cores=1, hardware_class=NASTY), NOW_S
    )
    recorder.record(Status(fleet="fleet", device="board-1", online=True, boot_id="b", session=1, agent_version="1"), NOW_S + 50)
    recorder.record(event("MEASURED", measurement=measured), NOW_S + 60)
    recorder.record(event("SUCCEEDED", measurement=measured), NOW_S + 61)
    refusal = Reason("build-failed", NASTY, "Look at <b>it</b>", "unfit")
    recorder.record(event("FAILED", device="board-2", reason=refusal), NOW_S + 62)
    for number in range(3):
        health = Telemetry(fleet="fleet", device="board-1", time_s=NOW_S + 60 * number, uptime_s=1.0, power_mw=5000.0 + number, temperature_c=40.0)
        recorder.record(health, NOW_S + 70 + number)
    return site
