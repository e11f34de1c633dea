"""Runs the owner's commands of the configuration: bounded in time, in output, and by cancel. Their argv is never from the wire."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import Rejected, Unfit

KEPT_BYTES = 4096
_POLL_S = 0.1


def run_command(argv: Sequence[str], verb: str, model: str, folder: Path, timeout_s: float, cancel: threading.Event) -> None:
    """Run one command to its end, with ``EDGEWRIGHT_MODEL`` and ``EDGEWRIGHT_ENGINE`` in its environment. Its exit status decides; the last line of
    its output is its reason. What it leaves in the background stays, without a place to print to.

    Raises:
        Unfit: ``activate-failed`` or ``health-failed``; ``cancelled``.
        Rejected: ``command-absent`` when the program does not exist.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"EDGEWRIGHT_MODEL": model, "EDGEWRIGHT_ENGINE": str(folder)},
            start_new_session=True,
        )
    except OSError as error:
        message = f"the {verb} command {argv[0]!r} cannot be started: {error.strerror}"
        raise Rejected("command-absent", message, f"Correct models.{model}.{verb} in the agent's configuration") from error
    with process:
        try:
            output, why = _watch(process, time.monotonic() + timeout_s, cancel)
        except BaseException:
            _kill(process)
            raise
        if why is not None:
            _kill(process)
    if why == "cancelled":
        raise Unfit("cancelled", f"the {verb} command was cancelled", "")
    if why is not None:
        raise Unfit(f"{verb}-failed", f"the {verb} command took longer than {timeout_s:g} s", "Look at the application")
    if process.returncode != 0:
        words = output.decode(errors="replace").strip().splitlines()
        tail = f": {words[-1][:200]}" if words else ""
        raise Unfit(f"{verb}-failed", f"the {verb} command ended with {process.returncode}{tail}", "Look at the application's log")


def _watch(process: subprocess.Popen[bytes], deadline: float, cancel: threading.Event) -> tuple[bytes, str | None]:
    """The end of what it printed, and why it must be killed, if so. Ends with the process, not with the last holder of its output."""
    assert process.stdout is not None
    descriptor, kept = process.stdout.fileno(), b""
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            is_over = process.poll() is not None
            if is_over or selector.select(_POLL_S):
                data = _read(descriptor)
                kept = (kept + data)[-KEPT_BYTES:]
                if not data and not is_over:
                    # It has closed its output and goes on.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_S)
            if is_over:
                return kept, None
            if cancel.is_set():
                return kept, "cancelled"
            if time.monotonic() > deadline:
                return kept, "late"


def _read(descriptor: int) -> bytes:
    """What is there now, as much as a pipe holds."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
