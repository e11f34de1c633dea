"""``edgewright fleet serve`` as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgewright.controller.leash import leashed

WAIT_S = 60


class ServeProcess:
    """A running ``fleet serve``; `ready` is the line that it printed, `before` a line of Python that runs first. A context manager."""

    def __init__(self, state: Path, *options: object, before: str = "") -> None:
        program = ["-Ic", f"{before}; from edgewright.cli.main import main; main()"] if before else ["-Im", "edgewright.cli.main"]
        command = [sys.executable, *program, "fleet", "serve", "--state", str(state), "--json", *map(str, options)]
        self.process = subprocess.Popen(leashed(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.err = ""

    @property
    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=WAIT_S)[1]
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        _, self.err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode

    def __enter__(self) -> ServeProcess:  # noqa: PYI034 - Self is not in Python 3.10's typing
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=WAIT_S)
