"""The daemon's entry: ``python -m edgewright.agent --config FILE``. ``edgewright agent run`` becomes this very process."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..core.errors import EdgewrightError
from .last_resort import end_when_crippled
from .logs import start_logging


def main(argv: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT, and exits 0 then; a second one ends it at once. Exits 1 with a one-line reason when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent", description="The Edgewright agent.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file, agent.toml")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--check", action="store_true", help="read the configuration, print the version, and end")
    options = parser.parse_args(argv)
    start_logging(options.log_level)
    from .answers import answer
    from .config import config_from_toml
    from .control import ControlServer
    from .daemon import Daemon

    try:
        config = config_from_toml(options.config)
        if options.check:
            print(__version__)
            return 0
        daemon = Daemon(config)
        control = ControlServer(config.socket, daemon.post, lambda request: answer(daemon, request))
    except EdgewrightError as error:
        print(f"edgewright: {error.reason.line()} [{error.code}]", file=sys.stderr)
        return 1

    end_when_crippled()
    _stop_on_signals(daemon.stop)
    gc.freeze()  # what was loaded stays: collections need not walk it again
    try:
        daemon.run()
    finally:
        control.stop()
    return 0


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on the first SIGTERM or SIGINT; the second one ends the process.

    On a thread of its own, by the wake-up descriptor: a handler runs between two instructions of the main thread, and one that comes just before that
    thread begins to wait for its queue is not run until somebody else wakes it.
    """
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)

    def wait() -> None:
        os.read(receiving, 1)
        stop()
        os._exit(128 + os.read(receiving, 1)[0])

    threading.Thread(target=wait, name="signals", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
