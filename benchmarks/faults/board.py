"""The template of the agents under fire: imports the agent once, and forks the real daemon for every life.

A line in, ``{"config": FILE, "state": DIR, "points": LOG, "target": POINT or null, "worker": PROGRAM, "log": FILE}``, starts an agent; lines out tell
``{"started": PID}`` and ``{"ended": PID, "status": N}``. An agent is `edgewright.agent.__main__.main` with its signals, threads and files, in a
process of its own; only the program that its worker children run is another one (`short_worker`).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    _import_the_agent()
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.buffer, selectors.EVENT_READ)
    selector.register(read_end, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == read_end:
                os.read(read_end, 4096)
                _bury()
                continue
            line = sys.stdin.buffer.raw.readline()  # type: ignore[attr-defined]
            if not line:
                return
            _tell({"started": _start(json.loads(line))})


def _import_the_agent() -> None:
    import edgewright.agent.answers
    import edgewright.agent.config
    import edgewright.agent.control
    import edgewright.agent.daemon
    import edgewright.engines.manifest  # noqa: F401
    import points  # noqa: F401


def _start(wanted: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = _live(wanted)
    finally:
        os._exit(status)


def _live(wanted: dict[str, Any]) -> int:
    from edgewright.agent.__main__ import main as run_agent
    from points import Points

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.executable = wanted["worker"]
    Points(Path(wanted["state"]), Path(wanted["points"]), wanted["target"]).install()
    return run_agent(["--config", wanted["config"], "--log-level", "info"])


def _bury() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
