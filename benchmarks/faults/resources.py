"""A board that runs short of something while a real agent downloads: of disk, of the right to write, of memory, descriptors or processor time.

The state folder is a small tmpfs of its own, which wants root. What is taken away is taken from the running process (``prlimit``, ``SIGSTOP``)
or from its file system, and given back after a while; nobody tells the agent.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgewright.agent.last_resort import EXIT_CRIPPLED
from edgewright.controller.packing import MODEL_NAME
from edgewright.core.wire.messages import TERMINAL_STATES

from .ground import WATCHDOG_S, Ground
from .links import SPEED, Links, order_of
from .proxy import Weather

DISK_MB = 48
SIZE = 1000
STOPPED_S, RUNNING_S = 0.095, 0.005
RESTART_S = 10.0
"""``RestartSec=`` of the unit."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """How the deployment under way ended, and how long after the fault's end it had, or the next one had where that was lost."""

    fault: str
    fault_s: float
    ended: str
    reason: str | None
    recovery_s: float
    lives: int


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """`folder` as a file system of its own.

    Raises:
        PermissionError: this user may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "edgewright-faults", str(folder)) != 0:
        raise PermissionError("a small disk wants the right to mount")
    try:
        yield
    finally:
        _mount("-o", "remount,rw", str(folder))
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode


class Supervisor:
    """systemd's part: hears the agent's words at `path`, and aborts one that has fed the watchdog too late."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._heard_s = time.monotonic()

    def look(self, pid: int) -> None:
        """To be called now and then."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while self._socket.recv(4096):
                self._heard_s = time.monotonic()
        if time.monotonic() - self._heard_s > WATCHDOG_S:
            self._heard_s = time.monotonic()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)

    def close(self) -> None:
        self._socket.close()


class Shortages:
    """Shortages on one ground, whose state folder is a `small_disk`."""

    def __init__(self, ground: Ground, links: Links, supervisor: Supervisor, fault_s: float = 8.0) -> None:
        self._ground, self._links, self._supervisor = ground, links, supervisor
        self._fault_s = fault_s
        self._count = 0
        ground.expected_ends = {1, EXIT_CRIPPLED, -signal.SIGABRT}
        ground.at_death = lambda: time.sleep(RESTART_S)  # type: ignore[method-assign]

    def faults(self) -> dict[str, Callable[[], None]]:
        """Each takes something away in the middle of a download, and gives it back before it returns."""
        return {
            "disk full": self._full,
            "read-only at the start": self._read_only,
            "no more descriptors": lambda: self._limited(resource.RLIMIT_NOFILE, self._open_files()),
            "no more memory": lambda: self._limited(resource.RLIMIT_AS, self._address_space()),
            "a twentieth of the processor": self._starved,
            "frozen": lambda: self._pulsed(self._fault_s, 0.0),
        }

    def tell(self, name: str, fault: Callable[[], None]) -> Shortage:
        """A deployment of 4 MB, of which the fault hits the middle; where it is lost, the next one has to succeed."""
        ground = self._ground
        self._count += 1
        self._links.proxy.weather = Weather(bytes_per_s=SPEED)
        ground.fresh()
        wanted = order_of(ground, f"s{self._count}", SIZE)
        digest = wanted.model.files[MODEL_NAME].digest
        ground.start()
        ground.want(wanted)
        ground.until(lambda: sum(key == digest for key, _ in ground.served) > 6, "the middle of the download")
        began_s = time.monotonic()
        fault()
        ended_s = time.monotonic()
        self._links.proxy.weather = Weather()
        self._until(lambda: self._state(wanted.deployment) in TERMINAL_STATES, f"the end after {name}")
        ended, reason = self._state(wanted.deployment), self._reason(wanted.deployment)
        if ended != "SUCCEEDED":
            again = order_of(ground, f"t{self._count}", SIZE)
            ground.want(again)
            self._until(lambda: self._state(again.deployment) == "SUCCEEDED", f"the next one after {name}")
        self._until(ground.is_at_rest, f"rest after {name}")
        recovery_s = time.monotonic() - ended_s
        assert ground.stop() == 0
        return Shortage(name, ended_s - began_s, ended, reason, recovery_s, len(ground.lives))

    def _until(self, look: Callable[[], bool], what: str) -> None:
        def watched() -> bool:
            self._supervisor.look(self._pid)
            return look()

        self._ground.until(watched, what, 120.0)

    def _state(self, deployment: str) -> str:
        return (self._ground.states(deployment) or [""])[-1]

    def _reason(self, deployment: str) -> str | None:
        last = [event for event in self._ground.events.values() if event.deployment == deployment and event.reason is not None]
        return max(last, key=lambda event: event.sequence).reason.code if last else None  # type: ignore[union-attr]

    @property
    def _pid(self) -> int:
        return self._ground.lives[-1]

    def _full(self) -> None:
        filler, deadline_s = self._ground.state / "filler", time.monotonic() + self._fault_s
        while time.monotonic() < deadline_s:
            space = os.statvfs(filler.parent)
            with filler.open("ab") as file, suppress(OSError):
                file.write(bytes(space.f_bavail * space.f_frsize))
            time.sleep(0.05)
        filler.unlink()

    def _read_only(self) -> None:
        """As a board boots after an error of its file system. Under a running agent the kernel refuses the remount: a file is open for writing."""
        ground, folder = self._ground, str(self._ground.state)
        assert ground.stop() == 0
        assert _mount("-o", "remount,ro", folder) == 0
        deadline_s = time.monotonic() + self._fault_s
        while time.monotonic() < deadline_s:
            ground.start()
            assert ground.wait_for_end() == 1, "an agent that cannot write ends with a reason, and systemd starts it again"
            time.sleep(0.5)
        assert _mount("-o", "remount,rw", folder) == 0
        time.sleep(RESTART_S)
        ground.start()

    def _limited(self, kind: int, limit: int) -> None:
        """The running process gets no more of it than it has."""
        before = resource.prlimit(self._pid, kind)
        resource.prlimit(self._pid, kind, (limit, before[1]))
        time.sleep(self._fault_s)
        with suppress(ProcessLookupError):
            resource.prlimit(self._pid, kind, before)

    def _open_files(self) -> int:
        return max(int(name) for name in os.listdir(f"/proc/{self._pid}/fd")) + 1

    def _address_space(self) -> int:
        pages = int(Path(f"/proc/{self._pid}/statm").read_text("ascii").split()[0])
        return pages * resource.getpagesize()

    def _starved(self) -> None:
        self._pulsed(STOPPED_S, RUNNING_S)

    def _pulsed(self, stopped_s: float, running_s: float) -> None:
        """Stopped and let run in turn, so that so much of the time is left to it."""
        deadline_s = time.monotonic() + self._fault_s
        while time.monotonic() < deadline_s:
            os.kill(self._pid, signal.SIGSTOP)
            time.sleep(stopped_s)
            os.kill(self._pid, signal.SIGCONT)
            time.sleep(running_s)
