"""The demo's processes: each in a group of its own, dead when the demo is dead, their output kept in files.

Nothing of them survives: `Processes` stops them on every way out, and the kernel kills them when the demo itself is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from ...core.errors import Faulty

_PR_SET_PDEATHSIG = 1
_STOP_S = 8.0


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Processes:
    """Starts ``edgewright`` commands and stops them in reverse order."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Processes:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Run ``edgewright ARGUMENTS`` in the background; its output goes to ``NAME.log`` and, for stdout, ``NAME.out``."""
        with self.output(name).open("wb") as out, self.log(name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgewright.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run yet when the demo starts its processes
            )
        self._running.append((name, process))
        return process

    def output(self, name: str) -> Path:
        return self._logs / f"{name}.out"

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def wait_for_line(self, name: str, *, timeout_s: float) -> dict[str, object]:
        """The first line of stdout of `name`, a JSON object: what a server prints when it is ready and goes on running.

        Raises:
            Faulty: ``demo-process-died`` or ``demo-process-silent``, with the end of its log.
        """
        process = dict(self._running)[name]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            has_ended = process.poll() is not None
            text = self.output(name).read_text(encoding="utf-8")
            if "\n" in text and not has_ended:
                line: dict[str, object] = json.loads(text.partition("\n")[0])
                return line
            if has_ended:
                raise Faulty("demo-process-died", f"{name} ended with {process.returncode}: {self.last_words(name)}", "Read its log")
            time.sleep(0.05)
        raise Faulty("demo-process-silent", f"{name} was not ready after {timeout_s:.0f} s: {self.last_words(name)}", "Try again")

    def dead(self) -> str | None:
        """The name of a process that ended by itself, or None."""
        return next((name for name, process in self._running if process.poll() is not None), None)

    def last_words(self, name: str) -> str:
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def stop(self) -> None:
        """Terminate everything, last started first; what does not end within eight seconds is killed with its group."""
        for _name, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _STOP_S
        for _name, process in reversed(self._running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
