"""The state folder: one agent's at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ..core.errors import Unfit
from ..core.files import make_folder, remove_leftovers

WAIT_S = 2.0
_POLL_S = 0.02


def lock_state(state: Path) -> int:
    """Make the state folder ours, until the returned descriptor is closed.

    Raises:
        Unfit: ``state-unusable`` or ``state-locked``.
    """
    try:
        make_folder(state)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state folder {state} cannot be used: {error.strerror}"
        raise Unfit("state-unusable", message, "Correct paths.state, or the folder's owner") from error
    if not _is_ours(descriptor):
        os.close(descriptor)
        raise Unfit("state-locked", f"another agent uses {state}", "Stop it, or give this one its own paths.state")
    remove_leftovers(state)
    return descriptor


def _is_ours(descriptor: int) -> bool:
    """A worker that a killed agent was just starting shares its lock until it runs a program of its own."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_POLL_S)
        else:
            return True
