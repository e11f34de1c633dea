"""The one owner of limited child processes. All heavy work runs in one: its memory comes back, and its death is a report.

A child is ``python -m edgewright.pipeline.worker TASK`` in a session of its own. The request goes in by stdin; progress and the result come back as
lines of JSON on a pipe; anything else that the child prints goes to the log. Rules:
- time, memory (of the whole group, and the board's own: see `memory`) and cancel are watched here, and end in SIGKILL of the whole group;
- the kernel kills the child when the daemon dies, so that a restarted daemon never meets its old worker;
- every way to end has a name (`Outcome.kind`), and everything but ``done`` a reason.

Imports nothing heavy: the idle daemon loads this file.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import msgspec

from ..core.errors import Reason
from .memory import Memory, MemoryWatch
from .remote import WORKER_VARIABLE, Header, call_worker, unreachable

log = logging.getLogger(__name__)

Kind = Literal["done", "failed", "timed_out", "out_of_memory", "cancelled", "crashed"]
Progress = Callable[[float, str], None]

RESULT_FD_VARIABLE = "EDGEWRIGHT_RESULT_FD"
MAX_LINE_BYTES = 32 << 20
_POLL_S = 0.2
# Near its limit a build may take the rest of the memory between two looks.
_POLL_NEAR_LIMIT_S = 0.02
_NEAR_LIMIT = 0.5
_PR_SET_PDEATHSIG = 1
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
# Best-effort class, least of its eight levels (linux/ioprio.h): behind the application's own reads and writes.
_IOPRIO_LEAST = 2 << 13 | 7
_LIBC = ctypes.CDLL(None, use_errno=True)


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the child: progress, or its result, or its failure."""

    share: float | None = None
    note: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may take, None = not limited. `reserve_mb` is what the board has to keep available, whoever takes the rest. `nice` is added to the
    daemon's own, and above 0 its disk goes last too.
    """

    time_s: float
    memory_mb: float | None = None
    reserve_mb: float | None = None
    nice: int = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. `result` is there exactly when `kind` is ``done``, `reason` otherwise. `peak_mb` as `memory` counts it."""

    kind: Kind
    result: bytes | None
    reason: Reason | None
    seconds: float
    peak_mb: float


def run_child(
    task: str,
    request: bytes,
    limits: Limits,
    *,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
    root: Path = Path("/"),
) -> Outcome:
    """Run `task` and wait for it. Blocks for at most `limits.time_s` and a second; call it from a worker thread. `root` is where the board's own
    memory is looked up.
    """
    address = os.environ.get(WORKER_VARIABLE)
    child = _Child(task, request, limits, on_progress, cancel, root)
    return child.run() if address is None else child.run_remotely(address)


class _Child:
    def __init__(self, task: str, request: bytes, limits: Limits, on_progress: Progress | None, cancel: threading.Event | None, root: Path) -> None:
        self._task = task
        self._request = request
        self._limits = limits
        self._on_progress = on_progress
        self._cancel = cancel
        self._last: Line | None = None
        self._root = root
        self._peak_mb = 0.0
        self._seen = Memory(0.0, None)
        self._buffer = b""

    def run(self) -> Outcome:
        started = time.monotonic()
        killed: Kind | None = "crashed"
        read_fd, write_fd = os.pipe()
        with open(read_fd, "rb", buffering=0) as pipe:
            try:
                process = self._start(write_fd)
            finally:
                os.close(write_fd)
            try:
                self._send_request(process)
                killed = self._watch(process, pipe, started + self._limits.time_s)
            finally:
                _kill_group(process, gently=killed is None)
                process.wait()
        return self._outcome(killed, process.returncode, time.monotonic() - started)

    def run_remotely(self, address: str) -> Outcome:
        """In the worker's own unit."""
        started = time.monotonic()
        limits = self._limits
        header = Header(self._task, len(self._request), limits.nice, limits.memory_mb)
        killed = call_worker(address, header, self._request, started + limits.time_s, self._cancel, self._read)
        seconds = time.monotonic() - started
        if killed == "crashed":
            return Outcome("crashed", None, unreachable(address), seconds, 0.0)
        return self._outcome("cancelled" if killed == "cancelled" else "timed_out" if killed == "timed_out" else None, 1, seconds)

    def _start(self, write_fd: int) -> subprocess.Popen[bytes]:
        nice, parent, ioprio_set = self._limits.nice, os.getpid(), _IOPRIO_SET.get(os.uname().machine)

        def prepare() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                # The parent died before the kernel was asked to tell.
                os._exit(1)
            os.nice(nice)
            if nice > 0 and ioprio_set is not None:
                _LIBC.syscall(ioprio_set, 1, 0, _IOPRIO_LEAST)

        return subprocess.Popen(
            [sys.executable, "-m", "edgewright.pipeline.worker", self._task],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None,
            env=os.environ | {RESULT_FD_VARIABLE: str(write_fd), "PYTHONSAFEPATH": "1"},
            pass_fds=(write_fd,),
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - system calls only, safe after a fork
        )

    def _send_request(self, process: subprocess.Popen[bytes]) -> None:
        """A child that died before it read the request is found by its end, not here."""
        stdin = process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write(self._request)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    def _watch(self, process: subprocess.Popen[bytes], pipe: IO[bytes], deadline: float) -> Kind | None:
        """Read the child's lines until it closes the pipe; returns why it must be killed, or None."""
        memory = MemoryWatch(process.pid, self._root)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if selector.select(self._poll_s()):
                    data = pipe.read(1 << 16)
                    if not data:
                        return None
                    self._read(data)
                if self._cancel is not None and self._cancel.is_set():
                    return "cancelled"
                if time.monotonic() > deadline:
                    return "timed_out"
                self._seen = memory.look()
                self._peak_mb = max(self._peak_mb, self._seen.taken_mb)
                if self._is_too_much() or self._is_too_little():
                    return "out_of_memory"

    def _is_too_much(self) -> bool:
        return self._limits.memory_mb is not None and self._seen.taken_mb > self._limits.memory_mb

    def _is_too_little(self) -> bool:
        reserve_mb, available_mb = self._limits.reserve_mb, self._seen.available_mb
        return reserve_mb is not None and available_mb is not None and available_mb < reserve_mb

    def _poll_s(self) -> float:
        limit_mb = self._limits.memory_mb
        return _POLL_NEAR_LIMIT_S if limit_mb is not None and self._peak_mb > _NEAR_LIMIT * limit_mb else _POLL_S

    def _read(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_LINE_BYTES:
            self._buffer = b""
        *lines, self._buffer = self._buffer.split(b"\n")
        for raw in lines:
            try:
                line = msgspec.json.decode(raw, type=Line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                log.warning("The worker %s wrote a line that is not its protocol", self._task)
                continue
            self._last = line
            if line.share is not None and self._on_progress is not None:
                self._on_progress(line.share, line.note)

    def _outcome(self, killed: Kind | None, code: int, seconds: float) -> Outcome:
        if killed is None and self._last is not None:
            if result := bytes(self._last.result):
                return Outcome("done", result, None, seconds, self._peak_mb)
            if self._last.reason is not None:
                kind: Kind = "out_of_memory" if self._last.reason.code == "out-of-memory" else "failed"
                return Outcome(kind, None, self._last.reason, seconds, self._peak_mb)
        if killed is None:
            # SIGKILL that we did not send is the kernel's memory killer, or a person.
            killed = "out_of_memory" if code == -signal.SIGKILL else "crashed"
        return Outcome(killed, None, self._reason(killed, code), seconds, self._peak_mb)

    def _reason(self, kind: Kind, code: int) -> Reason:
        task, limits = self._task, self._limits
        if kind == "timed_out":
            return Reason("timed-out", f"{task} took longer than {limits.time_s:g} s", "Allow more time or use a smaller model", "unfit")
        if kind == "cancelled":
            return Reason("cancelled", f"{task} was cancelled", "", "rejected")
        if kind == "out_of_memory" and self._is_too_little() and not self._is_too_much():
            message = f"{task} was ended at {self._seen.taken_mb:.0f} MB: the board had only {self._seen.available_mb:.0f} MB of memory left"
            return Reason("out-of-memory", message, f"Free memory: {limits.reserve_mb:g} MB have to stay available", "unfit")
        if kind == "out_of_memory":
            limit = f"{limits.memory_mb:g} MB" if limits.memory_mb is not None else "what the board has"
            message = f"{task} needed more memory than {limit} (peak {self._peak_mb:.0f} MB)"
            return Reason("out-of-memory", message, "Allow more memory or use a smaller model", "unfit")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return Reason("worker-crashed", f"the worker ended by {how} during {task}", "Report this with the agent's log", "faulty")


def _kill_group(process: subprocess.Popen[bytes], *, gently: bool) -> None:
    if gently and process.poll() is None:
        # A child that finished its answer gets a moment to leave by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
