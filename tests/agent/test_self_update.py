"""The agent is exchanged for another version of itself: real wheels, processes, broker and controller.

A supervisor restarts what ends, as systemd would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.agent.launch import interpreter_of
from edgewright.controller.broker import find_mosquitto
from edgewright.controller.ceremony import approve_model
from edgewright.controller.orders import new_deployment_id
from edgewright.controller.packages import pack_package
from edgewright.core.package import version_of
from edgewright.core.wire.messages import AGENT_MODEL, Order

pytestmark = pytest.mark.slow

WAIT_S = 60.0
MAX_STARTS = 12


class Supervisor:
    """Does what the units do: the start is counted, then the present version launched, again and again."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config, self._log = config, log
        self._stopping = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        with self._log.open("ab") as log:
            while not self._stopping.is_set() and self.starts < MAX_STARTS:
                self.starts += 1
                config = ["--config", str(self._config)]
                subprocess.run([sys.executable, "-m", "edgewright.agent.revert", *config], stdout=log, stderr=log, timeout=WAIT_S, check=True)
                command = [sys.executable, "-m", "edgewright.agent.launch", *config, "edgewright.agent", *config]
                self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONSAFEPATH": "1"})
                self.process.wait()

    def stop(self) -> None:
        self._stopping.set()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


class Site:
    """A fleet with one board under a supervisor, and the versions that can be sent to it."""

    def __init__(self, fleet: Any, folder: Path, until: Callable[..., Any]) -> None:
        self.fleet, self.until = fleet, until
        self.board = fleet.board("board", "[limits]\nmax_starts = 2\n")
        self.board.process.send_signal(signal.SIGTERM)
        self.board.process.wait(WAIT_S)
        self.supervisor = Supervisor(self.board.folder / "agent.toml", folder / "board.log")

    def update(self, wheel: Path, **fields: Any) -> Order:
        import datetime as dt

        loopback = self.fleet.loopback
        artifact, own = pack_package(loopback.blobs, wheel)
        keys, now = loopback.paths.keys, dt.datetime.now(dt.timezone.utc)
        approval = fields.pop("approval", approve_model("demo", AGENT_MODEL, artifact, own, keys, now))
        identity = new_deployment_id("agent")
        order = Order(
            deployment=identity,
            version=version_of(own) or "",
            model=artifact,
            model_file=own,
            kind="agent",
            approval=approval,
            probation_s=0.5,
            **fields,
        )
        loopback.orders.deploy(AGENT_MODEL, order, ["board"], time.time())
        return order

    def running(self) -> str | None:
        (view,) = self.fleet.loopback.reports.devices()
        return view.capabilities.agent_version if view.online and view.capabilities else None

    def wait_for(self, version: str) -> None:
        self.until(lambda: self.running() == version, f"version {version}")


@pytest.fixture(scope="module")
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory, load_fake: Callable[[str], ModuleType]) -> Path:
    built: Path = load_fake("wheels").build_wheel(project_root, tmp_path_factory.mktemp("wheel"))
    return built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, load_fake: Callable[[str], ModuleType]) -> Iterator[Site]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    killing = load_fake("killing")
    with killing.KillableFleet(tmp_path_factory.mktemp("fleet"), "mosquitto") as fleet:
        site = Site(fleet, tmp_path_factory.mktemp("log"), killing.until)
        yield site
        site.supervisor.stop()


def test_versions_take_over_one_after_the_other_and_a_broken_one_makes_way(
    site: Site, wheel: Path, tmp_path: Path, load_fake: Callable[[str], ModuleType]
) -> None:
    other = load_fake("wheels").other_version
    first = site.update(other(wheel, "0.1.1", tmp_path))
    target = site.board.wait_for_end(first)

    assert (target.state, target.attempt) == ("SUCCEEDED", 1), target.reason
    site.wait_for("0.1.1")
    assert Path(interpreter_of(site.board.state)).parent.parent.name == f"{first.deployment}-1"

    starts = site.supervisor.starts
    crashing = site.update(other(wheel, "0.1.2", tmp_path, {"agent/daemon.py": ("self.watchdog.ready()", "os._exit(3)")}))
    target = site.board.wait_for_end(crashing)

    assert (target.state, target.reason.code) == ("FAILED", "rolled-back")
    assert "started 3 times" in target.reason.message
    site.wait_for("0.1.1")
    assert site.supervisor.starts - starts == 3, "two of the broken one, and one of what ran before"

    site.fleet.loopback.orders.remove(AGENT_MODEL, ["board"], time.time())
    site.wait_for("0.1.0")
    assert interpreter_of(site.board.state) == sys.executable
