"""The state folder: one agent's at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..core.errors import Unfit
from ..core.files import remove_leftovers


def lock_state(state: Path) -> int:
    """Make the state folder ours, until the returned descriptor is closed.

    Raises:
        Unfit: ``state-unusable`` or ``state-locked``.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the state folder {state} cannot be used: {error.strerror}"
        raise Unfit("state-unusable", message, "Correct paths.state, or the folder's owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unfit("state-locked", f"another agent uses {state}", "Stop it, or give this one its own paths.state") from None
    remove_leftovers(state)
    return descriptor
