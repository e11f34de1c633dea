"""Becomes another program that ends when its parent ends, however that happens: ``python -m edgewright.controller.leash PARENT COMMAND…``.

The kernel sends the signal (prctl(2), PR_SET_PDEATHSIG). Done here and not between fork and exec, where a process with threads must not run Python.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def leashed(command: list[str]) -> list[str]:
    """`command`, to be started by this process, on a leash."""
    return [sys.executable, "-m", "edgewright.controller.leash", str(os.getpid()), *command]


def main() -> None:
    _, parent, *command = sys.argv
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the kernel knew
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is meant
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
