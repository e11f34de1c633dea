"""The pre-start process: ``python -m edgewright.agent.revert --config FILE [--model NAME]``. Counts a start, and takes a crash-looping trial out.

systemd runs it before every start of the agent (``ExecStartPre=``), and from an application's ``OnFailure=`` unit with ``--model``. It imports as
little as it can: it must work when what it undoes has broken the agent itself.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..core.errors import EdgewrightError
from .config import AgentConfig, config_from_toml
from .slots import ModelSlots, all_models


def main(argv: list[str] | None = None) -> int:
    """Exits 0 always but for a configuration that cannot be read: a start must not fail because nothing was to be reverted."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.revert", description="Count a start; revert a crash-looping trial.")
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file")
    parser.add_argument("--model", help="only this model: its application has failed")
    options = parser.parse_args(argv)
    try:
        config = config_from_toml(options.config)
    except EdgewrightError as error:
        print(f"edgewright: {error.reason.line()} [{error.code}]", file=sys.stderr)
        return 1
    for name in all_models(config.state):
        if options.model in {None, name}:
            _count_start(config, name)
    return 0


def _count_start(config: AgentConfig, name: str) -> None:
    try:
        if ModelSlots(config.state, name).count_start(config.limits.max_starts):
            print(f"edgewright: {name}: the engine on trial was taken out after {config.limits.max_starts} starts", file=sys.stderr)
    except (EdgewrightError, OSError) as error:
        print(f"edgewright: {name}: the start could not be counted: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
