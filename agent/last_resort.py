"""An agent that is crippled ends: whoever supervises it starts it again, and what it was doing is in the journal after every step.

A thread that dies takes a part of the agent with it (the link, a lane, the control socket) while the rest waits for that part for ever. One that
finds no memory while it begins leaves even its starter waiting, and no hook of Python is called then: that is the watchdog's to see (`notify`).
"""

from __future__ import annotations

import os
import threading

EXIT_CRIPPLED = 70
"""EX_SOFTWARE of sysexits.h."""
_WORDS = b"edgewright: a thread of the agent has died; it ends, to be started again\n"


def end_when_crippled() -> None:
    """From here on the death of a thread is the end of the process."""
    threading.excepthook = _thread_died


def _thread_died(error: threading.ExceptHookArgs) -> None:
    if error.exc_type is SystemExit:
        return
    try:
        threading.__excepthook__(error)
    finally:
        os.write(2, _WORDS)  # takes no memory: there may be none
        os._exit(EXIT_CRIPPLED)
