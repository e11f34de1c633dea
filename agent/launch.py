"""What starts the agent and its workers: ``python -m edgewright.agent.launch --config FILE MODULE [ARGUMENT…]``. Becomes the Python of the agent's
present version, with that module.

Versions are deployed like models (`core.wire.messages.AGENT_MODEL`): the link ``models/edgewright-agent/current`` in the state folder leads to the
one that runs; without it the installation that this file belongs to runs itself. That one is never changed by a deployment, so it can always undo
one (`revert`). It imports as little as it can, and of the configuration it reads the two keys that it needs: a newer version may have more of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..core.errors import EdgewrightError
from .config import essentials_from_toml

LINK = Path("models", "edgewright-agent", "current")
LAUNCHED_VARIABLE = "EDGEWRIGHT_LAUNCHED"
"""Set in what was launched: who runs without it cannot be exchanged."""

Become = Callable[[str, list[str]], object]


def main(argv: list[str] | None = None, become: Become = os.execv) -> int:
    """Exits 1 for a configuration that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.launch", description="Run a module of the agent's present version.")
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file")
    parser.add_argument("module", help="the module to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(argv)
    try:
        state = essentials_from_toml(options.config).state
    except EdgewrightError as error:
        print(f"edgewright: {error.reason.line()} [{error.code}]", file=sys.stderr)
        return 1
    python = interpreter_of(state)
    os.environ[LAUNCHED_VARIABLE] = "1"
    os.environ["PYTHONSAFEPATH"] = "1"
    become(python, [python, "-m", options.module, *options.arguments])
    return 0


def interpreter_of(state: Path) -> str:
    """The Python of the version that shall run; our own where none was deployed or its folder is damaged."""
    python = state / LINK / "bin" / "python"
    return str(python.parent.parent.resolve() / "bin" / "python") if os.access(python, os.X_OK) else sys.executable


if __name__ == "__main__":
    sys.exit(main())
