"""What the benchmarks of the fleet share: a broker and one enrolled agent in a temporary folder, ended on every way out.

The agent is the daemon as it runs on a board (``python -m edgewright.agent``) with the limits that it ships with. Whatever is started is a child
of the benchmark; the kernel ends it when the benchmark is killed.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from edgewright.agent.control import ControlRequest, ask_agent
from edgewright.controller.broker import Kind, OwnBroker
from edgewright.controller.database import Database
from edgewright.controller.enrollment import Address, controller_password, enroll
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import EdgewrightError, Faulty

FLEET = "bench"
DEVICE = "board"
PREFIX = "edgewright-bench-"
READY_S = 60.0
STOP_S = 8.0
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Rig:
    """A fleet of one device, with no controller running. A context manager; inside it the agent is connected and idle."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.paths = FleetPaths(self.folder / "fleet")

    def __enter__(self) -> Rig:  # noqa: PYI034 - Self is not in Python 3.10's typing
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def leave_running(self) -> None:
        """Let the broker, the agent and the folder outlive this object: who takes over ends our children and removes `folder`."""
        self.database.close()
        self._stack.pop_all()

    def _start(self) -> None:
        init_keys(self.paths, FLEET, dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
        self.password = controller_password(self.paths)
        self.broker = self._stack.enter_context(OwnBroker(self.paths, FLEET, self._kind))
        self.database = Database(self.paths.database)
        self._stack.callback(self.database.close)
        self.orders = Orders(self.database, FLEET)
        device, state = self.folder / "device", self.folder / "state"
        enroll(self.paths, self.orders, FLEET, DEVICE, device, Address("127.0.0.1", self.broker.port), state)
        self.broker.refresh()
        self.agent = self.start("agent", [sys.executable, "-m", "edgewright.agent", "--config", str(device / "agent.toml")])
        self.wait_until(lambda: self._is_agent_idle(state / "agent.sock"), "agent", READY_S)

    def _is_agent_idle(self, socket: Path) -> bool:
        """Connected, and the worker child that looked at this machine is gone."""
        try:
            status = ask_agent(socket, ControlRequest("status"))
        except EdgewrightError:
            return False
        return bool(status["connected"] and status["runtime"]) and not children(self.agent.pid)

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Run a command until the rig ends; what it says goes to a log in the folder."""
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONSAFEPATH": "1"},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, safe after a fork
            )
        self._stack.callback(stop, process)
        self._processes[name] = process
        return process

    def wait_until(self, is_true: Callable[[], bool], name: str, timeout_s: float) -> None:
        """Wait for something that the process `name` brings about.

        Raises:
            Faulty: ``bench-process-died`` or ``bench-timeout``, with the end of that process's log.
        """
        deadline = time.monotonic() + timeout_s
        while not is_true():
            if self._processes[name].poll() is not None:
                raise Faulty("bench-process-died", f"{name} ended by itself: {self._last_words(name)}", "See its message")
            if time.monotonic() > deadline:
                raise Faulty("bench-timeout", f"{name} did not get there in {timeout_s:g} s: {self._last_words(name)}", "Run the benchmark again")
            time.sleep(_POLL_S)

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def start_bare_python(program: str) -> subprocess.Popen[bytes]:
    """The interpreter with nothing of ours in it, running `program`."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - see Rig.start
    )


def die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end(pid: int) -> None:
    """Terminate a child of ours of which only the number is known, and bury it."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and not yet buried, the dead among them."""
    found: list[int] = []
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(word) for word in path.read_text(encoding="ascii").split()]
    return found


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that nothing is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
